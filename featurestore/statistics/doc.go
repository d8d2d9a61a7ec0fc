// Package statistics sums up features: what their values are like, and how far they have
// drifted from those that a model was trained on. It is pure.
package statistics
