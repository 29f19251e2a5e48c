"""What a user writes, with something of everything: it must run, and pyright must know each name in it."""

# pyright: strict

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import func, linalg, nn, optim
from flambeau.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.rest = nn.Sequential(nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.rest(F.relu(self.first(x)))


def loss_of(weight: fb.Tensor, x: fb.Tensor) -> fb.Tensor:
    return ((x @ weight - 1.0) ** 2).mean()


fb.manual_seed(0)
x, y = fb.randn(32, 8, dtype=fb.float32, device="cpu"), fb.arange(32) % 3
model = Model()
optimizer = optim.AdamW(model.parameters(), lr=1e-2)
schedule = optim.lr_scheduler.StepLR(optimizer, step_size=5)
losses: list[float] = []
for _ in range(10):
    for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    schedule.step()
assert sum(losses[-4:]) < sum(losses[:4]) and model.first.weight.grad is not None

both = fb.cat([x, -x * 2 + 1 / x], dim=1)[:, :8].softmax(dim=1)
gradients = func.vmap(func.grad(loss_of), in_dims=(None, 0))(fb.ones(8), x)
solution = linalg.solve(x[:8] + 8 * fb.eye(8), fb.ones(8))
with fb.no_grad():
    print((both > 0.5).sum(), fb.softmax(gradients, dim=-1).shape, fb.where(solution > 0, solution, 0))
