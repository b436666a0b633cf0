"""One compact network for many styles, with adjustable strength and colors."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_lightning.errors import UserError, require, require_at_least, suggest_names
from nst_lightning.images.color import LUMA
from nst_lightning.networks.layers import MINIMUM_SIZE, convolution
from nst_lightning.networks.pixels_in_fours import blur_kernel, placement_kernel
from nst_lightning.system import normalize_name

_LARGEST_DILATION = MINIMUM_SIZE // 8 - 1  # reflection needs more pixels than it pads
_NOISE_PERIODS = (51, 64)  # together they repeat only after 3,264 positions
_NOISE_CHANNELS = 4  # channels of noise for each period
_ZERO_CHANNELS = (0, 4)  # 4 channels of zeros after 12: ONNX Runtime reorders features unless they are multiples of 16
_MARGIN = 7  # pixels reflected on each side of the photo, which the unpadded convolutions consume


class MultiStyleNet(nn.Module):
    """A transfer network for any number of styles, by conditional instance normalization (Dumoulin et al. 2017).

    Each style has its own scales and shifts in the instance normalizations, one pair for each channel. A blend of
    styles is a blend of these per-style parameters, and a new style adds a few thousand of them. The scales and shifts
    also depend on the strength, which is drawn at random in training (Babaeizadeh & Ghiasi 2018).

    Nothing runs at full resolution. The residual blocks run at 1/8 of the size, which is fast and gives the wide view
    that large strokes need. The last convolution runs at 1/2 and makes four pixels at each position, which are then
    blurred a little, so that no grid shows. Skips at 1/4 and 1/2 keep edges and texture where the photo has them; after
    the skip at 1/4, a convolution gives strokes their edges. Upsampling is bilinear. The photo is padded once, by
    reflection, and most convolutions at 1/4 and 1/2 consume this margin instead of padding, so that ONNX Runtime need
    not copy features between them. Where a photo is flat, fixed noise tells the residual blocks where strokes may begin
    (as in the texture networks of Ulyanov et al. 2016); training shifts the noise at random.

    Args:
        styles: names of the styles, in the order of their weights in `style`.
        widths: number of channels at 1/2, 1/4 and 1/8 of the picture's size.
        block_width: number of channels between the two convolutions of a residual block.
        dilations: dilation of each residual block, 1 to 3.

    Raises:
        UserError: an argument is out of range, or a name occurs twice.
    """

    size_multiple = 8
    """Photos whose sides are multiples of this need no padding that depends on their size."""
    blur: Tensor
    placement: Tensor
    luma: Tensor

    def __init__(
        self,
        styles: list[str] = [],  # noqa: B006 - shown in --help
        widths: list[int] = [16, 48, 96],  # noqa: B006
        block_width: int = 64,
        dilations: list[int] = [1, 3, 2, 3, 2, 1],  # noqa: B006
    ) -> None:
        super().__init__()
        require("widths", widths, len(widths) == 3 and min(widths) >= 2, "three numbers >= 2")
        require_at_least(2, block_width=block_width)
        good = all(1 <= dilation <= _LARGEST_DILATION for dilation in dilations)
        require("dilations", dilations, good, f"numbers from 1 to {_LARGEST_DILATION}")
        self.styles: list[str] = []
        self.init_args = {
            "styles": self.styles,
            "widths": list(widths),
            "block_width": block_width,
            "dilations": list(dilations),
        }
        half, quarter, eighth = widths
        self.down_2 = nn.Conv2d(3, half, 3, stride=2)
        self.down_4 = _StyledConv(half, quarter, stride=2, pad=False)
        self.down_8 = _StyledConv(quarter, eighth, stride=2, pad=False)
        self.noise = _StyledNoise(eighth)
        self.blocks = nn.ModuleList(_StyledBlock(eighth, block_width, dilation) for dilation in dilations)
        self.up_4 = _StyledConv(eighth, quarter)
        self.strokes = _StyledConv(quarter, quarter, pad=False)
        self.narrow_strokes = nn.Conv2d(quarter, half, 3, bias=False)
        self.narrow_4 = nn.Conv2d(quarter, half, 3)
        self.fine = nn.Conv2d(half, half, 3)
        self.tail = nn.Conv2d(half, 3 * 4, 3)
        for unnormalized in (self.down_2, self.narrow_strokes, self.narrow_4, self.fine):
            nn.init.kaiming_normal_(unnormalized.weight, nonlinearity="relu")  # torch's default would fade features
        self.register_buffer("blur", blur_kernel(), persistent=False)
        self.register_buffer("placement", placement_kernel(), persistent=False)
        self.register_buffer("luma", torch.from_numpy(LUMA).float(), persistent=False)
        self.add_styles(styles)

    def add_styles(self, names: Sequence[str]) -> None:
        """Add styles before the existing ones, whose average they begin as.

        Raises:
            UserError: a name is taken or empty, contains a comma, colon or slash, or is surrounded by blanks.
        """
        names = [normalize_name(name) for name in names]
        for i, name in enumerate(names):
            new = name not in self.styles and name not in names[:i]
            require("styles", name, new, "different names")
            good = bool(name) and name == name.strip() and not set(name) & set(",:/")
            require("styles", name, good, "names without comma, colon, slash or surrounding blanks")
        self.styles[:0] = names
        for module in self._styled():
            module.add_styles(len(names))

    def replace_styles(self, names: Sequence[str]) -> None:
        """Have exactly these styles, in this order, with per-style parameters that are still to be loaded."""
        self.keep_styles([])
        self.add_styles(names)

    def keep_styles(self, names: Sequence[str]) -> None:
        """Keep only these styles, in this order.

        Raises:
            UserError: a name is unknown, or given twice.
        """
        names = [normalize_name(name) for name in names]
        for i, name in enumerate(names):
            if name not in self.styles:
                raise UserError.about("styles", f"there is no {name!r}; {suggest_names(name, self.styles, 'styles')}")
            require("styles", name, name not in names[:i], "different names")
        rows = [self.styles.index(name) for name in names]
        self.styles[:] = names
        for module in self._styled():
            module.keep_styles(rows)

    def forward(
        self,
        photos: Tensor,
        style: Tensor | None = None,
        strength: Tensor | None = None,
        preserve_color: Tensor | None = None,
        noise_from: Tensor | None = None,
    ) -> Tensor:
        """Stylize.

        Args:
            photos: RGB in [0, 1], shape (N, 3, H, W), H and W at least 32.
            style: weights of the styles, shape (S,), or (N, S) for a different blend for each photo; by default
                the first style alone. Weights are divided by their sum; negative ones count as 0, and one must be
                positive.
            strength: strength of the style, from 0, the photo itself, to 1, the default; shape (1,) or (N,). Values
                outside are clamped.
            preserve_color: from 0, the default, to 1, which keeps the photo's chroma; shape (1,) or (N,). Values
                outside are clamped.
            noise_from: row and column where the noise begins, in steps of eight pixels, integers of shape (2,); by
                default 0. Training draws both at random.

        Returns:
            RGB in [0, 1], same shape.
        """
        if not self.styles:
            raise UserError.about("styles", "the network has no styles yet; give their names, or call add_styles")
        style = (self.controls["style"] if style is None else style).to(photos)
        if style.shape[-1] != len(self.styles):
            raise UserError(
                f"style must be {len(self.styles)} weights, one for each style, got {style.shape[-1]}",
                argument="style",
            )
        style = style.view(-1, len(self.styles)).clamp_min(0)
        style = style / style.sum(1, keepdim=True).clamp_min(1e-6)
        strength = (self.controls["strength"] if strength is None else strength).to(photos).view(-1, 1).clamp(0, 1)
        color = self.controls["preserve_color"] if preserve_color is None else preserve_color
        color = color.to(photos).view(-1, 1, 1).clamp(0, 1)
        code = torch.cat([strength * style, strength * (1 - strength) * style], dim=1)
        painted = self._paint(photos, code, (0, 0) if noise_from is None else noise_from)
        opacity = (1 - (1 - strength) ** 4).view(-1, 1, 1)  # the photo fades quickly, against double contours
        mixing = opacity * ((1 - color) * torch.eye(3, device=color.device) + color * self.luma)  # channels, or luma
        return (photos + _mix_channels(mixing, painted - photos)).clamp(0, 1)

    @property
    def controls(self) -> dict[str, Tensor]:
        """The inputs besides the photo, with their default values."""
        style = torch.zeros(len(self.styles))
        style[:1] = 1
        return {"style": style, "strength": torch.ones(1), "preserve_color": torch.zeros(1)}

    def per_style_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that belong to single styles."""
        return (module.table for module in self._styled())

    def _styled(self) -> "list[Styled]":
        return [module for module in self.modules() if isinstance(module, Styled)]

    def _paint(self, photos: Tensor, code: Tensor, noise_from: Iterable[int | Tensor]) -> Tensor:
        height, width = photos.shape[-2:]
        # with `%` in place of `//`, ONNX Runtime's shape inference would give up
        to_right, to_bottom = (8 * ((length + 7) // 8) - length for length in (width, height))
        margins = (_MARGIN, _MARGIN + to_right, _MARGIN, _MARGIN + to_bottom)
        x_2 = F.relu(self.down_2(F.pad(photos, margins, mode="reflect")))  # leaves a margin of 3
        x_4 = F.relu(self.down_4(x_2, code))  # margin of 1
        x = F.relu(self.down_8(x_4, code))  # no margin left
        x = x + self.noise(x, code[:, : len(self.styles)], noise_from)
        for block in self.blocks:
            x = block(x, code)
        x = _upsample_twice(_reflect_border(self.up_4(x, code)))  # margin of 2
        x = _reflect_border(F.relu(_add_reshaped(x_4, F.pad(x, (-1, -1, -1, -1)))))  # margin of 2
        x = self.narrow_strokes(_reflect_border(F.relu(self.strokes(x, code)))) + self.narrow_4(x)  # margin of 1
        x = F.relu(_add_reshaped(self.fine(x_2), _upsample_twice(x)))  # margin of 2
        bias = F.pad(cast(Tensor, self.tail.bias), _ZERO_CHANNELS)
        x = F.conv2d(x, F.pad(self.tail.weight, (0, 0) * 3 + _ZERO_CHANNELS), bias)  # margin of 1
        x = F.conv2d(x, F.pad(self.blur, (0, 0) * 2 + _ZERO_CHANNELS))  # no margin left
        x = F.conv_transpose2d(x, self.placement, stride=2)
        x = x.reshape(x.shape[0], 3, height + to_bottom, width + to_right)  # for ONNX Runtime's shape inference
        x = x.float().sigmoid()  # half precision has too few levels near 1
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))  # remove the padding to multiples of 8


class Styled(nn.Module):
    """A module with per-style parameters, which begin as zeros: a table of shape (parts, S, length)."""

    runs = 1  # numbers for all channels, one run after the other, fill the last dimension of each parameter

    def __init__(self, parts: int, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(parts, 0, length))

    def add_styles(self, count: int) -> None:
        """Add rows before the existing ones, whose average they begin as."""
        rows = self.table.detach()
        new = rows.mean(1, keepdim=True) if rows.shape[1] else rows.new_zeros(len(rows), 1, rows.shape[2])
        self.table = nn.Parameter(torch.cat([new.expand(-1, count, -1), rows], dim=1))

    def keep_styles(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        self.table = nn.Parameter(self.table.detach()[:, rows])

    def by_channel(self) -> Iterator[Tensor]:
        """Views of the parameters, with channels first."""
        return (parameter.unflatten(-1, (self.runs, -1)).movedim(-1, 0) for parameter in self.parameters())


class _StyledNorm(Styled):
    """Instance normalization whose scale and shift depend on a code of style and strength, shape (N, 2 S)."""

    runs = 2  # scales, then shifts

    def __init__(self, channels: int) -> None:
        super().__init__(2, 2 * channels)
        self.base = nn.Parameter(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        values = self.base + _product(code, self.table.flatten(0, 1))
        scale, shift = values[:, : x.shape[1]], values[:, x.shape[1] :]
        x = x.float()  # statistics in half precision would be coarse
        if len(code) == 1:  # one style for all photos, as in ONNX files
            return F.instance_norm(x, weight=scale.flatten(), bias=shift.flatten())
        flat = x.flatten(0, 1).unsqueeze(0)
        return F.instance_norm(flat, weight=scale.flatten(), bias=shift.flatten()).view_as(x)


class _StyledNoise(Styled):
    """Fixed noise, mixed by the code of the styles, shape (N, S): a photo always gets the same noise."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels * len(_NOISE_PERIODS) * _NOISE_CHANNELS)
        for period in _NOISE_PERIODS:
            self.register_buffer(f"tile_{period}", torch.randn(_NOISE_CHANNELS, period, period))

    def forward(self, x: Tensor, code: Tensor, start: Iterable[int | Tensor]) -> Tensor:
        """Noise for features x.

        Sums count the positions, and products pick from the tiles: this needs neither shapes nor indices, which many
        devices can't compute in ONNX files.
        """
        ones = x[:1, :1].detach() * 0 + 1
        rows, columns = (
            line.cumsum(dim) + (first - 1) for line, dim, first in zip((ones[..., :1], ones[..., :1, :]), (2, 3), start)
        )
        fields = []
        for period in _NOISE_PERIODS:
            places = torch.arange(period, device=x.device, dtype=ones.dtype)
            picked = _product(_pick(rows, places), self.get_buffer(f"tile_{period}"))
            fields.append(_product(picked, _pick(columns, places[:, None])))
        mix = _product(code, self.table.flatten(0, 1)).view(len(code), -1, len(_NOISE_PERIODS) * _NOISE_CHANNELS)
        return _mix_channels(mix, torch.cat(fields, dim=1))


class _StyledConv(nn.Module):
    """3x3 convolution, padded by reflection or not at all, then a styled normalization."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, 3, stride=stride, dilation=dilation, pad=pad)
        self.norm = _StyledNorm(out_channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.norm(self.conv(x), code)


class _StyledBlock(nn.Module):
    """x + conv(ReLU(conv(x))), without ReLU after the sum."""

    def __init__(self, channels: int, block_width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _StyledConv(channels, block_width, dilation=dilation)
        self.second = _StyledConv(block_width, channels, dilation=dilation)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x, code)), code)

    def start_as_identity(self) -> None:
        """Change nothing until the block is trained."""
        for parameter in self.second.norm.parameters():
            nn.init.zeros_(parameter)


def _pick(positions: Tensor, places: Tensor) -> Tensor:
    """1 where a position is at a place, up to multiples of the number of places, and otherwise 0."""
    period = places.numel()
    return F.relu(1 - (positions - period * torch.floor(positions / period) - places).abs())


def _in_float32(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The function's value, in float32 even where convolutions run in half precision."""
    if not torch.is_autocast_enabled(a.device.type):
        return function(a, b)
    with torch.autocast(a.device.type, enabled=False):
        return function(a.float(), b.float())


def _product(a: Tensor, b: Tensor) -> Tensor:
    return _in_float32(torch.matmul, a, b)


def _mix_channels(mixing: Tensor, x: Tensor) -> Tensor:
    """Mix the channels of x, shape (N, I, H, W) or (1, I, H, W), by matrices of shape (N, O, I)."""
    if len(mixing) == 1:  # in ONNX files, where a convolution needs no shapes
        return _in_float32(F.conv2d, x, mixing.flatten(0, 1)[:, :, None, None])
    return _product(mixing, x.flatten(2)).unflatten(2, x.shape[-2:])


def _reflect_border(x: Tensor) -> Tensor:
    """Pad each side with one pixel, by reflection."""
    return F.pad(x, (1, 1, 1, 1), mode="reflect")


def _upsample_twice(x: Tensor) -> Tensor:
    """Double the size. With a constant factor, ONNX Runtime need not reorder features first."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear")


def _add_reshaped(x: Tensor, enlarged: Tensor) -> Tensor:
    """The sum of two tensors of the same shape. ONNX Runtime's shape inference must be told that it is the same."""
    return x + enlarged.reshape(x.shape)
