"""Every part that has a source names one that there is an entry for."""

import re

import pytest
import torch
from torch import nn

import pyro_flows as pf
from pyro_flows.citations.citation import sources
from pyro_flows.citations.entries import ENTRIES

from ..cases.registry import CASES

NO_SOURCE = {
    "Chain": "composition",
    "Determinant": "linear algebra",
    "Foreign": "another library's transform",
    "LogDet": "abstract",
    "Monotone": "the change of variables of one dimension; its elementwise map has a source",
    "Penalties": "a tuple of numbers",
    "Permutation": "a permutation",
    "Reshape": "a new shape",
    "Standardize": "a change of units",
    "Units": "a change of units",
}


def keys(text):
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


CLASSES = [name for name in pf.transforms.__all__ if isinstance(getattr(pf.transforms, name), type)]


@pytest.mark.parametrize("name", CLASSES)
def test_every_transform_has_a_source_or_needs_none(name):
    found = sources(getattr(pf.transforms, name))
    assert bool(found) != (name in NO_SOURCE)
    assert set(found) <= set(ENTRIES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_case_can_be_cited(case):
    found = keys(pf.citation(case.example))
    assert found[0] == "bingham2019pyro"
    assert len(set(found)) == len(found)
    layers = {type(m).__name__ for m in case.example.modules() if isinstance(m, pf.FlowTransform)} & set(
        CLASSES
    )
    assert len(found) > 1 or layers <= set(NO_SOURCE)


def test_the_papers_of_some_flows():
    flows = {
        "dinh2015nice dinh2017realnvp": pf.real_nvp(2),
        "dinh2015nice": pf.nice(2),
        "papamakarios2017maf germain2015made": pf.maf(3),
        "durkan2019nsf": pf.nsf(3),
        "huang2018naf": pf.naf(3),
        "rezende2015variational": pf.planar(3),
        "chen2019residual miyato2018spectral": pf.residual(3),
        "grathwohl2019ffjord chen2018neural": pf.ffjord(3),
        "kingma2018glow": pf.glow((1, 4, 4)),
        "tomczak2016householder": pf.transforms.householder(3, 2),
        "yeo2000family": pf.transforms.Monotone(pf.elementwise.PowerTails(), (2,)),
        "theis2016note": pf.transforms.Dequantize(),
    }
    for wanted, transform in flows.items():
        found = keys(pf.citation(pf.Flow(transform) if transform.domain_shape else transform))
        assert set(wanted.split()) <= set(found), wanted


def test_saved_memory_is_cited():
    chain = pf.save_memory(pf.real_nvp(2), "reversible")
    assert set(keys(pf.citation(chain))) - set(keys(pf.citation(pf.real_nvp(2)))) == {
        "gomez2017reversible",
        "chen2016training",
    }


def test_parts_inside_a_module_of_ones_own_are_found():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.flows = {"a": pf.Flow(pf.nsf(2)), "b": [pf.Flow(pf.planar(2))]}

    assert {"durkan2019nsf", "rezende2015variational"} <= set(keys(pf.citation(Model())))


def test_a_layer_of_ones_own_is_cited_by_its_number():
    class Own(nn.Module):
        """A layer of Nobody 2031, arXiv:3101.00001."""

    assert pf.citation(Own()).endswith(
        "@misc{arXiv:3101.00001,\n  eprint = {3101.00001},\n  archiveprefix = {arXiv},\n}"
    )


def test_each_entry_is_balanced_and_complete():
    assert len(set(keys("\n\n".join(ENTRIES.values())))) == len(ENTRIES)
    for source, entry in ENTRIES.items():
        assert entry.count("{") == entry.count("}")
        assert re.search(r"^  author = \{.+ and .+\},$", entry, re.MULTILINE)
        assert re.search(r"^  year = \{20\d\d\},$", entry, re.MULTILINE)
        assert f"{{{source.split(':', 1)[1]}}}" in entry


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="expected a flow, a transform or a module; got Tensor"):
        pf.citation(torch.zeros(2))
