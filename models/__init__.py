"""The door of the science: what app/ and notebooks may use, listed in ``__init__.pyi``.

A name is imported when it is first asked for, so that ``deconvnet --help`` need not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
