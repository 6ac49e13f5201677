"""What an mlp space allows, and whether an architecture is inside."""

from dataclasses import dataclass

from nasmeta.search_spaces.mlp.architecture import MlpArchitecture

# Layer norm makes one unit constant.
SMALLEST_WIDTH = 2


@dataclass(frozen=True)
class MlpChoices:
    """The allowed values, in order. widths ascend; skip says whether layers may have it."""

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    norms: tuple[str, ...]
    skip: bool
    min_layers: int
    max_layers: int

    def problem(self, arch: MlpArchitecture) -> str | None:
        """Why `arch` is not in the space, in words; None where it is."""
        previous = 0
        for number, layer in enumerate(arch.layers, 1):
            for what, value, allowed in (
                ("width", layer.width, self.widths),
                ("activation", layer.activation, self.activations),
                ("norm", layer.norm, self.norms),
                ("skip", layer.skip, self.flags()),
            ):
                if value not in allowed:
                    return (
                        f"layer {number}: the {what} {value!r} is not one of {', '.join(map(str, allowed))}"
                    )
            if layer.skip and layer.width != previous:
                return f"layer {number}: a skip needs a layer of {layer.width} units before it"
            previous = layer.width
        count = len(arch.layers)
        if not self.min_layers <= count <= self.max_layers:
            return f"{count} layers, where the space has {self.min_layers} to {self.max_layers}"
        return None

    def contains(self, arch: MlpArchitecture) -> bool:
        """Whether `arch` is in the space."""
        return self.problem(arch) is None

    def flags(self) -> tuple[bool, ...]:
        """The values of a layer's `skip`."""
        return (False, True) if self.skip else (False,)

    def size(self) -> int:
        """The number of architectures: a first layer, then layers that may skip at one of the widths."""
        kinds = len(self.activations) * len(self.norms)
        later = kinds * (len(self.widths) + self.skip)
        depths = range(self.min_layers, self.max_layers + 1)
        return sum(kinds * len(self.widths) * later ** (depth - 1) for depth in depths)
