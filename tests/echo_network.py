"""A network that answers with what it sees."""

from torch import nn


class Echo(nn.Module):
    """Answers with the crop itself, on a grid that is `scale` times finer; keeps what it saw."""

    def __init__(self, scale=4):
        super().__init__()
        self.scale, self.seen = scale, []

    def forward(self, image):
        assert not self.training
        self.seen.append(image.clone())
        return image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
