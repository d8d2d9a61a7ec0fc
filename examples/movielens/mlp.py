"""A small multi-layer perceptron for binary labels, trained with Adam (Kingma and Ba 2015), in numpy alone."""

from dataclasses import dataclass

import numpy as np

BATCH = 256
PATIENCE = 6  # epochs without a better validation loss
WEIGHT_DECAY = 3e-3
CLIP = 6.0  # standard deviations; a live value far from all training data must not decide alone


@dataclass
class Scaling:
    """Standardises each column: (x - mean) / deviation, cut off at CLIP."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x):
        deviation = x.std(axis=0, dtype=np.float64)
        return cls(
            x.mean(axis=0, dtype=np.float64).astype(np.float32),
            np.where(deviation > 1e-9, deviation, 1).astype(np.float32),
        )

    def apply(self, x):
        return np.clip((x - self.mean) / self.deviation, -CLIP, CLIP)


@dataclass
class Network:
    weights: list  # float32 [in, out] per layer
    biases: list  # float32 [out] per layer

    @classmethod
    def random(cls, widths, random):
        pairs = list(zip(widths, widths[1:]))
        weights = [(random.standard_normal(pair) * np.sqrt(2 / pair[0])).astype(np.float32) for pair in pairs]
        weights[-1] *= 0.1
        return cls(weights, [np.zeros(out, np.float32) for _, out in pairs])

    def forward(self, x):
        """Return the inputs of every layer and the logits."""
        activations = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            activations.append(np.maximum(activations[-1] @ weight + bias, 0))
        return activations, (activations[-1] @ self.weights[-1] + self.biases[-1])[:, 0]

    def scores(self, x):
        return sigmoid(self.forward(x)[1])

    def gradients(self, x, labels):
        activations, logits = self.forward(x)
        delta = ((sigmoid(logits) - labels) / len(labels)).astype(np.float32)[:, None]
        found = []
        for i in reversed(range(len(self.weights))):
            found.append((activations[i].T @ delta + WEIGHT_DECAY * self.weights[i], delta.sum(axis=0)))
            if i > 0:
                delta = (delta @ self.weights[i].T) * (activations[i] > 0)
        weights, biases = zip(*reversed(found))
        return list(weights) + list(biases)

    def parameters(self):
        return self.weights + self.biases

    def copy(self):
        return Network([w.copy() for w in self.weights], [b.copy() for b in self.biases])


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def loss(network, x, labels):
    """Return the mean cross-entropy in nats."""
    logits = network.forward(x)[1].astype(np.float64)
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))


def train(x, labels, x_validate, labels_validate, hidden, epochs, seed, rate=1e-3):
    """Return the network with the lowest validation loss, and how many epochs were run."""
    random = np.random.default_rng(seed)
    network = Network.random([x.shape[1], *hidden, 1], random)
    adam = Adam(network.parameters(), rate)
    best, best_loss, best_epoch, epoch = network.copy(), np.inf, 0, 0
    while epoch < epochs and epoch - best_epoch < PATIENCE:
        epoch += 1
        order = random.permutation(len(labels))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            adam.step(network.gradients(x[rows], labels[rows]))
        now = loss(network, x_validate, labels_validate)
        if now < best_loss:
            best, best_loss, best_epoch = network.copy(), now, epoch
    return best, epoch


class Adam:
    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]

    def step(self, gradients):
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            unbiased = m / (1 - 0.9**self.steps)
            p -= self.rate * unbiased / (np.sqrt(v / (1 - 0.999**self.steps)) + 1e-8)
