from .shortfall._choose import minimum_shortfall as minimum_shortfall
from .shortfall._frontier import ShortfallFrontier as ShortfallFrontier
from .shortfall._frontier import shortfall_frontier as shortfall_frontier
from .shortfall._problem import ShortfallProblem as ShortfallProblem
from .shortfall._problem import ShortfallSolution as ShortfallSolution
