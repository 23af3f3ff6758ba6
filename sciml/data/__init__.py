"""Records that come with the package, and the tables that hold them."""

from ._hare_lynx import hare_lynx as hare_lynx, read_pelts as read_pelts
from ._table import Table as Table
