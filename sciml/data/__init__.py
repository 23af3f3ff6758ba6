"""Records that come with the package, and what holds measurements: tables and batches of series."""

from ._el_nino import el_nino as el_nino
from ._hare_lynx import hare_lynx as hare_lynx, read_pelts as read_pelts
from ._japanese_vowels import japanese_vowels as japanese_vowels
from ._padding import Padded as Padded
from ._scaling import Scaling as Scaling
from ._series import Series as Series
from ._table import Table as Table
