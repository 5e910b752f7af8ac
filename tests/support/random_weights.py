"""Weights for comparing two implementations: no parameter keeps a value that could hide that it is not used."""

import torch


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Draw every parameter and every BatchNorm statistic so that activations stay of the order of one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 0:
                parameter.uniform_(1.0, 2.0, generator=generator)
            elif parameter.ndim == 1:
                offset = 1.0 if float(parameter.flatten()[0]) == 1.0 else 0.0
                parameter.uniform_(-0.4, 0.4, generator=generator).add_(offset)
            else:
                parameter.normal_(0.0, 1.5 * parameter[0].numel() ** -0.5, generator=generator)
        for name, table in model.named_parameters():
            if name.endswith("relative_position_bias_table"):
                table.normal_(generator=generator)
        for name, statistic in model.named_buffers():
            if name.endswith("running_mean"):
                statistic.uniform_(-1.0, 1.0, generator=generator)
            if name.endswith("running_var"):
                statistic.uniform_(0.5, 2.0, generator=generator)
