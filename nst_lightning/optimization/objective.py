"""What a picture under optimization is compared with: the photo's features and the paintings' Gram matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nst_lightning.optimization.options import OptimizeOptions
from nst_lightning.perception import Encoder, content_loss, gram_matrix, style_loss, total_variation_loss
from nst_lightning.perception.losses import shares_of


class Objective:
    """The loss of one picture at one size. Everything that stays the same is computed once.

    Args:
        encoder: whose features are compared.
        photo: RGB in [0, 1], shape (1, 3, H, W).
        paintings: RGB in [0, 1], each of shape (1, 3, h, w).
        shares: of each painting in the style; their sum is 1.
        options: layers, weights and normalisation.
    """

    @torch.no_grad()
    def __init__(
        self,
        encoder: Encoder,
        photo: Tensor,
        paintings: Sequence[Tensor],
        shares: Sequence[float],
        options: OptimizeOptions,
    ) -> None:
        self.encoder, self.options = encoder, options
        self.content_layers = shares_of("content_layers", options.content_layers) if options.content_weight else {}
        self.style_layers = shares_of("style_layers", options.style_layers) if options.style_weight else {}
        self.features = encoder(photo, list(self.content_layers)) if self.content_layers else {}
        self.grams: dict[str, Tensor] = {}
        for painting, share in zip(paintings, shares, strict=True):
            for layer, features in encoder(painting, list(self.style_layers)).items():
                self.grams[layer] = self.grams.get(layer, 0) + share * gram_matrix(features)

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        """Scalars `content`, `style`, `variation`, unweighted, and `loss` of a picture of the photo's shape."""
        options = self.options
        features = self.encoder(picture, list(dict.fromkeys([*self.content_layers, *self.style_layers])))
        content, style = picture.new_zeros(()), picture.new_zeros(())
        for layer, share in self.content_layers.items():
            content = content + share * content_loss(features[layer], self.features[layer], options.normalization)
        for layer, share in self.style_layers.items():
            gram = gram_matrix(features[layer])
            style = style + share * style_loss(gram, self.grams[layer], options.normalization)
        variation = total_variation_loss(picture)
        loss = options.content_weight * content + options.style_weight * style + options.tv_weight * variation
        return {"loss": loss, "content": content, "style": style, "variation": variation}
