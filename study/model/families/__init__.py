"""The families of networks by name: a family is one file here and one line below.

``study.model.architecture`` lists the names for those who must not wait for torch.
"""

from study.model.architecture import Architecture
from study.model.families.informer import Informer
from study.model.families.itransformer import ITransformer
from study.model.families.patchtst import PatchTST
from study.model.network import Network

FAMILIES: dict[str, type[Network]] = {
    "informer": Informer,
    "itransformer": ITransformer,
    "patchtst": PatchTST,
}


def family_of(config: Architecture) -> type[Network]:
    """Return the class of networks that an architecture belongs to."""
    return FAMILIES[config.family]
