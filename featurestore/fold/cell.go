package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// The set functions write a cell's value and status. Cells are used again for the same
// column of row after row, so for a number only what can differ is written.

func setInt(c *featurestore.Cell, v int64) {
	c.Value.Type, c.Value.Num, c.Status = featurestore.Int64, uint64(v), featurestore.Present
}

func setFloat(c *featurestore.Cell, v float64) {
	c.Value.Type, c.Value.Num, c.Status = featurestore.Float64, math.Float64bits(v), featurestore.Present
}

// setFinite sets a float, or the status OVERFLOW when it is none that fits.
func setFinite(c *featurestore.Cell, v float64) {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		setNull(c, featurestore.Overflow)
		return
	}
	setFloat(c, v)
}

func setNull(c *featurestore.Cell, status featurestore.Status) {
	c.Value, c.Status = featurestore.Value{}, status
}
