"""PyTorch Geometric: data and batches, convolutions, pooling, message passing, transforms, sampling-free training."""

from __future__ import annotations

from typing import Any

import jobs
import torch
from jobs import even, gradients, job, tensor, whole
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric import transforms, utils
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader


def edges() -> Any:
    return torch.tensor([[0, 1, 1, 2, 3, 4, 5, 0, 2], [1, 0, 2, 1, 4, 3, 0, 5, 5]]).to(jobs.DEVICE)


def graph(seed: int = 0) -> Any:
    return Data(
        x=tensor(6, 4, seed=seed), edge_index=edges(), edge_attr=tensor(9, 2, seed=seed + 50), y=whole(3, 6, seed=seed)
    )


@job
def data_and_batches() -> Any:
    """Graphs, batches, loaders, graphs of several kinds of node."""
    first, second = graph(), graph(1)
    batch = Batch.from_data_list([first, second])
    loader = [b.x.sum() for b in DataLoader([first, second, graph(2)], batch_size=2)]
    hetero = HeteroData()
    hetero["user"].x = tensor(3, 2)
    hetero["user", "likes", "item"].edge_index = torch.tensor([[0, 1], [1, 0]])
    hetero["item"].x = tensor(2, 5)
    return [
        first.num_nodes,
        first.num_edges,
        first.is_undirected(),
        first.has_self_loops(),
        batch.batch,
        batch.ptr,
        batch.edge_index,
        batch[1].x,
        batch.num_graphs,
        loader,
        hetero.metadata(),
        sorted(first.keys()),
        repr(first),
        first.subgraph(torch.tensor([0, 1, 2]).to(jobs.DEVICE)).edge_index,
    ]


@job
def convolutions() -> Any:
    """Twenty-one graph convolutions: outputs and gradients."""
    g = graph()
    kinds = {
        "gcn": gnn.GCNConv(4, 3),
        "gat": gnn.GATConv(4, 3, heads=2),
        "gatv2": gnn.GATv2Conv(4, 3, heads=2, concat=False),
        "sage": gnn.SAGEConv(4, 3),
        "sage_max": gnn.SAGEConv(4, 3, aggr="max"),
        "graph": gnn.GraphConv(4, 3),
        "gin": gnn.GINConv(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), train_eps=True),
        "cheb": gnn.ChebConv(4, 3, K=3),
        "tag": gnn.TAGConv(4, 3),
        "sg": gnn.SGConv(4, 3, K=2),
        "arma": gnn.ARMAConv(4, 3),
        "edge": gnn.EdgeConv(nn.Linear(8, 3)),
        "transformer": gnn.TransformerConv(4, 3, heads=2),
        "gated": gnn.GatedGraphConv(4, 2),
        "res": gnn.ResGatedGraphConv(4, 3),
        "cluster": gnn.ClusterGCNConv(4, 3),
        "feast": gnn.FeaStConv(4, 3, heads=2),
        "le": gnn.LEConv(4, 3),
    }
    answers = {}
    for name, conv in kinds.items():
        model = even(conv)
        out = model(g.x, g.edge_index)
        out.pow(2).sum().backward()
        answers[name] = [out, gradients(model)]
    nn_conv = even(gnn.NNConv(4, 3, nn.Linear(2, 12)))
    cg = even(gnn.CGConv(4, dim=2))
    return (
        answers,
        gnn.APPNP(3, 0.1)(g.x, g.edge_index),
        nn_conv(g.x, g.edge_index, g.edge_attr),
        cg(g.x, g.edge_index, g.edge_attr),
    )


@job
def aggregations() -> Any:
    """Twelve aggregations over groups of nodes."""
    x, index = tensor(8, 3), torch.tensor([0, 0, 1, 1, 1, 3, 3, 3]).to(jobs.DEVICE)
    kinds = {
        "sum": gnn.SumAggregation(),
        "mean": gnn.MeanAggregation(),
        "max": gnn.MaxAggregation(),
        "min": gnn.MinAggregation(),
        "mul": gnn.MulAggregation(),
        "var": gnn.VarAggregation(),
        "std": gnn.StdAggregation(),
        "softmax": gnn.SoftmaxAggregation(),
        "power": gnn.PowerMeanAggregation(),
        "median": gnn.MedianAggregation(),
        "sort": gnn.SortAggregation(2),
        "several": gnn.MultiAggregation(["mean", "max", "std"]),
    }
    return {n: k(x.abs() if n == "power" else x, index, dim_size=4) for n, k in kinds.items()}


@job
def pooling() -> Any:
    """Global, top-k, attention and dense pooling."""
    batch = Batch.from_data_list([graph(), graph(1)])
    top = even(gnn.TopKPooling(4, ratio=0.5))(batch.x, batch.edge_index, batch=batch.batch)
    sag = even(gnn.SAGPooling(4, ratio=0.5))(batch.x, batch.edge_index, batch=batch.batch)
    dense, mask = utils.to_dense_batch(batch.x, batch.batch)
    adjacency = utils.to_dense_adj(batch.edge_index, batch.batch)
    pooled = gnn.dense_diff_pool(dense, adjacency, tensor(2, 6, 3), mask)
    return [
        gnn.global_mean_pool(batch.x, batch.batch),
        gnn.global_max_pool(batch.x, batch.batch),
        gnn.global_add_pool(batch.x, batch.batch),
        top[0],
        top[1],
        top[3],
        sag[0],
        sag[1],
        dense,
        mask,
        adjacency,
        *pooled,
        gnn.dense_mincut_pool(dense, adjacency, tensor(2, 6, 3), mask)[0],
    ]


@job
def norms_and_models() -> Any:
    """Five norms and five whole models."""
    batch = Batch.from_data_list([graph(), graph(1)])
    norms = {
        "batch": gnn.BatchNorm(4),
        "layer": gnn.LayerNorm(4),
        "graph": gnn.GraphNorm(4),
        "pair": gnn.PairNorm(),
        "instance": gnn.InstanceNorm(4),
    }
    answers: dict[str, Any] = {}
    for name, norm in norms.items():
        norm = even(norm)
        answers[name] = norm(batch.x) if name in ("batch",) else norm(batch.x, batch.batch)
    models = {
        "gcn": gnn.GCN(4, 8, 2, 3),
        "gat": gnn.GAT(4, 8, 2, 3, v2=True),
        "sage": gnn.GraphSAGE(4, 8, 2, 3, jk="cat"),
        "gin": gnn.GIN(4, 8, 2, 3),
        "pna": gnn.PNA(4, 8, 2, 3, aggregators=["mean", "max"], scalers=["identity"], deg=torch.tensor([1, 3, 2])),
    }
    for name, model in models.items():
        answers[name] = even(model).eval()(batch.x, batch.edge_index)
    return answers, repr(models["gcn"])


@job
def message_passing() -> Any:
    """A layer of one's own by MessagePassing, with gradients."""

    class Mine(gnn.MessagePassing):
        def __init__(self) -> None:
            super().__init__(aggr="mean", flow="source_to_target")

        def forward(self, x: Any, edge_index: Any, weight: Any) -> Any:
            return self.propagate(edge_index, x=x, weight=weight)

        def message(self, x_i: Any, x_j: Any, weight: Any) -> Any:
            return weight[:, None] * (x_j - x_i)

        def update(self, inputs: Any, x: Any) -> Any:
            return inputs + x

    x = tensor(6, 4, grad=True)
    out = Mine()(x, edges(), tensor(9))
    out.pow(2).sum().backward()
    return out, x.grad


@job
def utilities() -> Any:
    """Twenty functions on edges, degrees, Laplacians and dense forms."""
    e = edges()
    looped, weights = utils.add_self_loops(e, tensor(9), num_nodes=6)
    return [
        utils.degree(e[0], 6),
        looped,
        weights,
        utils.remove_self_loops(looped)[0],
        utils.to_undirected(e),
        utils.coalesce(e),
        utils.softmax(tensor(9), e[1]),
        utils.scatter(tensor(9, 2), e[0], 0, reduce="max"),
        utils.get_laplacian(e)[1],
        utils.get_laplacian(e, normalization="sym")[1],
        utils.contains_isolated_nodes(e, 8),
        utils.k_hop_subgraph(0, 1, e)[0],
        utils.to_dense_adj(e),
        utils.dense_to_sparse(utils.to_dense_adj(e)[0])[0],
        utils.one_hot(whole(3, 5)),
        utils.sort_edge_index(e),
        utils.is_undirected(e),
        utils.homophily(e, whole(3, 6)),
        utils.mask_to_index(whole(2, 6) > 0),
        utils.segment(tensor(6, 2), torch.tensor([0, 2, 6]).to(jobs.DEVICE), "mean"),
    ]


@job
def transformed() -> Any:
    """Transforms of graphs."""
    g = graph()
    g.pos = tensor(6, 3, seed=3)
    made = transforms.Compose(
        [transforms.NormalizeFeatures(), transforms.Distance(norm=False), transforms.AddSelfLoops()]
    )(g)
    return made.x, made.edge_index, made.edge_attr, transforms.GCNNorm()(graph()).edge_weight


@job
def training() -> Any:
    """A graph classifier, trained for four epochs."""
    model = even(gnn.GCN(4, 8, 2, 3, dropout=0.0))
    head = even(nn.Linear(3, 2), seed=1)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.02)
    losses = []
    for _ in range(4):
        for batch in DataLoader([graph(i) for i in range(4)], batch_size=2):
            batch = batch.to(jobs.DEVICE)
            optimizer.zero_grad()
            out = head(gnn.global_mean_pool(model(batch.x, batch.edge_index), batch.batch))
            loss = nn.functional.cross_entropy(out, torch.tensor([0, 1]).to(jobs.DEVICE))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    jobs.main("torch_geometric")
