"""The training loop that both networks have."""
import time

import numpy as np
import torch


def fit(network, epochs, batches, losses_of_batch, parts, max_lr, weight_decay, weights=(1.0, 1.0), most_gradient=None):
    """Trains a network in place; one line per epoch tells the mean losses.

    batches          steps per epoch
    losses_of_batch  function that draws a batch and returns its losses, one per name in `parts`
    weights          of the losses in the sum that is made small
    most_gradient    norm above which gradients are cut; None: they are not
    """
    # The schedule sets the rate of every step.
    optimiser = torch.optim.AdamW(network.parameters(), lr=max_lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=max_lr, total_steps=epochs * batches, pct_start=0.15)
    started = time.process_time()
    network.train()
    for epoch in range(1, epochs + 1):
        sums = np.zeros(len(parts))
        for _ in range(batches):
            losses = losses_of_batch()
            optimiser.zero_grad()
            sum(weight * loss for weight, loss in zip(weights, losses)).backward()
            if most_gradient is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), most_gradient)
            optimiser.step()
            schedule.step()
            sums += [float(loss) for loss in losses]
        means = " ".join(f"{name} {value / batches:.3f}" for name, value in zip(parts, sums))
        print(f"epoch {epoch} {means} {time.process_time() - started:.0f} CPU s", flush=True)
