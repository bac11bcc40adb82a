"""Building blocks of classifiers and decoders in which padding has no effect."""

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU; with ``stride`` 2, output cell i is centred on input cell 2i."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()  # a module, whose gradient guided backpropagation and DeepLift can replace

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, C, T', F'] to [B, C', ceil(T'/stride), ceil(F'/stride)]."""
        return self.relu(self.norm(self.conv(maps)))
