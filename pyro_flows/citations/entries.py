"""BibTeX entries by the source that docstrings name."""

from __future__ import annotations

__all__ = ["ENTRIES", "entry_of"]


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _number(source: str) -> dict[str, str]:
    kind, number = source.split(":", 1)
    return {"doi": number} if kind == "doi" else {"eprint": number, "archiveprefix": "arXiv"}


def _conference(key: str, author: str, title: str, booktitle: str, year: int, arxiv: str) -> tuple[str, str]:
    fields = {"author": author, "title": title, "booktitle": booktitle, "year": str(year)}
    source = f"arXiv:{arxiv}"
    return source, _entry("inproceedings", key, **fields, **_number(source))


def _preprint(key: str, author: str, title: str, year: int, arxiv: str) -> tuple[str, str]:
    fields = {"author": author, "title": title, "year": str(year)}
    source = f"arXiv:{arxiv}"
    return source, _entry("misc", key, **fields, **_number(source))


def _article(
    key: str, author: str, title: str, journal: str, volume: str, year: int, source: str
) -> tuple[str, str]:
    fields = {"author": author, "title": title, "journal": journal, "volume": volume, "year": str(year)}
    return source, _entry("article", key, **fields, **_number(source))


ICLR = "International Conference on Learning Representations"
ICML = "International Conference on Machine Learning"
NEURIPS = "Advances in Neural Information Processing Systems"

ENTRIES: dict[str, str] = dict(
    (
        _article(
            "bingham2019pyro",
            "Bingham, Eli and Chen, Jonathan P. and Jankowiak, Martin and Obermeyer, Fritz and "
            "Pradhan, Neeraj and Karaletsos, Theofanis and Singh, Rohit and Szerlip, Paul A. and "
            "Horsfall, Paul and Goodman, Noah D.",
            "{Pyro}: Deep Universal Probabilistic Programming",
            "Journal of Machine Learning Research",
            "20",
            2019,
            "arXiv:1810.09538",
        ),
        _conference(
            "dinh2015nice",
            "Dinh, Laurent and Krueger, David and Bengio, Yoshua",
            "{NICE}: Non-linear Independent Components Estimation",
            f"{ICLR}, Workshop Track",
            2015,
            "1410.8516",
        ),
        _conference(
            "dinh2017realnvp",
            "Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy",
            "Density Estimation Using {Real NVP}",
            ICLR,
            2017,
            "1605.08803",
        ),
        _conference(
            "kingma2018glow",
            "Kingma, Diederik P. and Dhariwal, Prafulla",
            "{Glow}: Generative Flow with Invertible 1x1 Convolutions",
            NEURIPS,
            2018,
            "1807.03039",
        ),
        _conference(
            "papamakarios2017maf",
            "Papamakarios, George and Pavlakou, Theo and Murray, Iain",
            "Masked Autoregressive Flow for Density Estimation",
            NEURIPS,
            2017,
            "1705.07057",
        ),
        _conference(
            "kingma2016iaf",
            "Kingma, Diederik P. and Salimans, Tim and Jozefowicz, Rafal and Chen, Xi and Sutskever, Ilya "
            "and Welling, Max",
            "Improved Variational Inference with Inverse Autoregressive Flow",
            NEURIPS,
            2016,
            "1606.04934",
        ),
        _conference(
            "germain2015made",
            "Germain, Mathieu and Gregor, Karol and Murray, Iain and Larochelle, Hugo",
            "{MADE}: Masked Autoencoder for Distribution Estimation",
            ICML,
            2015,
            "1502.03509",
        ),
        _conference(
            "durkan2019nsf",
            "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
            "Neural Spline Flows",
            NEURIPS,
            2019,
            "1906.04032",
        ),
        _conference(
            "rezende2020tori",
            "Rezende, Danilo Jimenez and Papamakarios, George and Racani{\\`e}re, S{\\'e}bastien and "
            "Albergo, Michael S. and Kanwar, Gurtej and Shanahan, Phiala E. and Cranmer, Kyle",
            "Normalizing Flows on Tori and Spheres",
            ICML,
            2020,
            "2002.02428",
        ),
        _conference(
            "huang2018naf",
            "Huang, Chin-Wei and Krueger, David and Lacoste, Alexandre and Courville, Aaron",
            "Neural Autoregressive Flows",
            ICML,
            2018,
            "1804.00779",
        ),
        _conference(
            "ho2019flowpp",
            "Ho, Jonathan and Chen, Xi and Srinivas, Aravind and Duan, Yan and Abbeel, Pieter",
            "{Flow++}: Improving Flow-Based Generative Models with Variational Dequantization and "
            "Architecture Design",
            ICML,
            2019,
            "1902.00275",
        ),
        _conference(
            "theis2016note",
            'Theis, Lucas and van den Oord, A{\\"a}ron and Bethge, Matthias',
            "A Note on the Evaluation of Generative Models",
            ICLR,
            2016,
            "1511.01844",
        ),
        _conference(
            "nielsen2020survae",
            "Nielsen, Didrik and Jaini, Priyank and Hoogeboom, Emiel and Winther, Ole and Welling, Max",
            "{SurVAE} Flows: Surjections to Bridge the Gap between {VAEs} and Flows",
            NEURIPS,
            2020,
            "2007.02731",
        ),
        _conference(
            "rezende2015variational",
            "Rezende, Danilo Jimenez and Mohamed, Shakir",
            "Variational Inference with Normalizing Flows",
            ICML,
            2015,
            "1505.05770",
        ),
        _conference(
            "behrmann2019invertible",
            "Behrmann, Jens and Grathwohl, Will and Chen, Ricky T. Q. and Duvenaud, David and "
            'Jacobsen, J{\\"o}rn-Henrik',
            "Invertible Residual Networks",
            ICML,
            2019,
            "1811.00995",
        ),
        _conference(
            "chen2019residual",
            'Chen, Ricky T. Q. and Behrmann, Jens and Duvenaud, David and Jacobsen, J{\\"o}rn-Henrik',
            "Residual Flows for Invertible Generative Modeling",
            NEURIPS,
            2019,
            "1906.02735",
        ),
        _conference(
            "chen2018neural",
            "Chen, Ricky T. Q. and Rubanova, Yulia and Bettencourt, Jesse and Duvenaud, David",
            "Neural Ordinary Differential Equations",
            NEURIPS,
            2018,
            "1806.07366",
        ),
        _conference(
            "grathwohl2019ffjord",
            "Grathwohl, Will and Chen, Ricky T. Q. and Bettencourt, Jesse and Sutskever, Ilya and "
            "Duvenaud, David",
            "{FFJORD}: Free-Form Continuous Dynamics for Scalable Reversible Generative Models",
            ICLR,
            2019,
            "1810.01367",
        ),
        _conference(
            "kidger2021hey",
            "Kidger, Patrick and Chen, Ricky T. Q. and Lyons, Terry",
            "``{Hey, That's Not an ODE}'': Faster {ODE} Adjoints via Seminorms",
            ICML,
            2021,
            "2009.09457",
        ),
        _conference(
            "zhuang2020adaptive",
            "Zhuang, Juntang and Dvornek, Nicha and Li, Xiaoxiao and Tatikonda, Sekhar and "
            "Papademetris, Xenophon and Duncan, James",
            "Adaptive Checkpoint Adjoint Method for Gradient Estimation in Neural {ODE}",
            ICML,
            2020,
            "2006.02493",
        ),
        _conference(
            "finlay2020train",
            'Finlay, Chris and Jacobsen, J{\\"o}rn-Henrik and Nurbekyan, Levon and Oberman, Adam M.',
            "How to Train Your Neural {ODE}: The World of {Jacobian} and Kinetic Regularization",
            ICML,
            2020,
            "2002.02798",
        ),
        _preprint(
            "tomczak2016householder",
            "Tomczak, Jakub M. and Welling, Max",
            "Improving Variational Auto-Encoders Using {Householder} Flow",
            2016,
            "1611.09630",
        ),
        _conference(
            "ioffe2015batch",
            "Ioffe, Sergey and Szegedy, Christian",
            "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
            ICML,
            2015,
            "1502.03167",
        ),
        _conference(
            "he2016identity",
            "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
            "Identity Mappings in Deep Residual Networks",
            "European Conference on Computer Vision",
            2016,
            "1603.05027",
        ),
        _conference(
            "salimans2016weight",
            "Salimans, Tim and Kingma, Diederik P.",
            "Weight Normalization: A Simple Reparameterization to Accelerate Training of "
            "Deep Neural Networks",
            NEURIPS,
            2016,
            "1602.07868",
        ),
        _conference(
            "miyato2018spectral",
            "Miyato, Takeru and Kataoka, Toshiki and Koyama, Masanori and Yoshida, Yuichi",
            "Spectral Normalization for Generative Adversarial Networks",
            ICLR,
            2018,
            "1802.05957",
        ),
        _article(
            "gouk2021regularisation",
            "Gouk, Henry and Frank, Eibe and Pfahringer, Bernhard and Cree, Michael J.",
            "Regularisation of Neural Networks by Enforcing {Lipschitz} Continuity",
            "Machine Learning",
            "110",
            2021,
            "arXiv:1804.04368",
        ),
        _conference(
            "gomez2017reversible",
            "Gomez, Aidan N. and Ren, Mengye and Urtasun, Raquel and Grosse, Roger B.",
            "The Reversible Residual Network: Backpropagation Without Storing Activations",
            NEURIPS,
            2017,
            "1707.04585",
        ),
        _preprint(
            "chen2016training",
            "Chen, Tianqi and Xu, Bing and Zhang, Chiyuan and Guestrin, Carlos",
            "Training Deep Nets with Sublinear Memory Cost",
            2016,
            "1604.06174",
        ),
        _article(
            "yeo2000family",
            "Yeo, In-Kwon and Johnson, Richard A.",
            "A New Family of Power Transformations to Improve Normality or Symmetry",
            "Biometrika",
            "87",
            2000,
            "doi:10.1093/biomet/87.4.954",
        ),
    )
)


def entry_of(source: str) -> str:
    """Return the entry of a source, or one that holds its number alone if it is in no table."""
    return ENTRIES.get(source) or _entry("misc", source, **_number(source))
