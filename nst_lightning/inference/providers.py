"""ONNX Runtime's execution providers, which are what networks run on, by short names."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

from nst_lightning.errors import UserError, require

Provider = str | tuple[str, Mapping[str, Any]]
"""A provider's name, or its name and its options, as ONNX Runtime takes them."""

CPU = "cpu"
NAMES = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""ONNX Runtime's names of providers, by short ones."""
RUNTIMES = {"cuda": "gpu", "tensorrt": "gpu"} | {name: name for name in ("migraphx", "openvino", "directml", "webgpu")}
"""The RUNTIME of `make wheel` that brings a provider, in the package onnxruntime-RUNTIME."""
_SHORT = {name: short for short, name in NAMES.items()}


def default_providers() -> list[Provider]:
    """CUDA where it is installed, then the CPU."""
    installed = onnxruntime.get_available_providers()
    return [NAMES[name] for name in ("cuda", CPU) if NAMES[name] in installed]


def find_providers(providers: Provider | Sequence[Provider], threads: int = 0) -> list[Provider]:
    """What ONNX Runtime takes as providers.

    Args:
        providers: a short name, one of ONNX Runtime's own, a pair of a name and its options, or several of these.
        threads: number of processor threads for OpenVINO, which doesn't follow the session's; 0 leaves it to OpenVINO.

    Raises:
        UserError: there is no such provider, or this ONNX Runtime was built without it.
    """
    found: list[Provider] = []
    for name, options in _to_pairs(providers):
        require("providers", providers, isinstance(name, str), "names, or pairs of a name and options")
        own = _find_name(name)
        if own == NAMES["openvino"] and threads:
            options = {"num_of_threads": threads, **options}
        found.append((own, dict(options)) if options else own)
    require("providers", providers, bool(found), "one provider or more")
    return found


def name_providers(session: onnxruntime.InferenceSession) -> list[str]:
    """What a session runs on, best first, by short names where there are any."""
    return [_SHORT.get(name, name) for name in session.get_providers()]


def require_chosen(session: onnxruntime.InferenceSession, providers: Sequence[Provider]) -> None:
    """Refuse a session for which ONNX Runtime has left out a provider, which it does if a library can't be loaded.

    Raises:
        UserError: a provider is left out.
    """
    chosen = session.get_providers()
    for name in (provider if isinstance(provider, str) else provider[0] for provider in providers):
        if name not in chosen:
            problem = f"{_SHORT.get(name, name)} can't be used here, as ONNX Runtime's messages say"
            raise UserError.about("providers", f"{problem}; it would run on {', '.join(name_providers(session))}")


def _to_pairs(providers: Provider | Sequence[Provider]) -> list[tuple[Any, Mapping[str, Any]]]:
    """All providers with their options."""
    several: Sequence[Any] = [providers] if isinstance(providers, str) or _is_pair(providers) else providers
    return [given if _is_pair(given) else (given, {}) for given in several]


def _is_pair(given: object) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)


def _find_name(name: str) -> str:
    """ONNX Runtime's name of a provider."""
    short = _SHORT.get(name, name.lower())
    own = NAMES.get(short, name)
    available = onnxruntime.get_available_providers()
    if own in available:
        return own
    if short not in NAMES and own not in onnxruntime.get_all_providers():
        raise UserError.about("providers", f"there is no {name!r}; there are {', '.join(NAMES)}")
    here = ", ".join(known for each, known in _SHORT.items() if each in available)
    problem = f"this ONNX Runtime, {onnxruntime.__version__}, has no {short if short in NAMES else own}, only {here}"
    raise UserError.about("providers", f"{problem}; {_advise(short)}")


def _advise(short: str) -> str:
    """Where to find a provider that is missing."""
    if short == "coreml":
        return "onnxruntime brings it on macOS"
    if short not in RUNTIMES:
        return "it takes another build of ONNX Runtime"
    runtime = RUNTIMES[short]
    return f"onnxruntime-{runtime}, in place of onnxruntime, brings it (make wheel RUNTIME={runtime})"
