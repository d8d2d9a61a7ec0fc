package training

import (
	"github.com/onehop/onehop/featurestore"
)

// Column is a feature for every row of a spine.
type Column struct {
	Ref  featurestore.Ref
	Type featurestore.Type
	// Numbers are the values of an int64, float64 (its bits) or bool column; Values those
	// of the other types. Rows whose status has no value hold a zero there.
	Numbers []uint64
	Values  []featurestore.Value
	// Status says what each value is worth.
	Status []featurestore.Status
	// EventTimes are the times of the newest events behind the values, in microseconds, 0
	// where there is none; nil when they were not asked for.
	EventTimes []int64
}

// NewColumn makes a column of rows that are NOT_FOUND.
func NewColumn(ref featurestore.Ref, t featurestore.Type, rows int, eventTimes bool) Column {
	column := Column{Ref: ref, Type: t, Status: make([]featurestore.Status, rows)}
	if isNumber(t) {
		column.Numbers = make([]uint64, rows)
	} else {
		column.Values = make([]featurestore.Value, rows)
	}
	if eventTimes {
		column.EventTimes = make([]int64, rows)
	}
	for i := range column.Status {
		column.Status[i] = featurestore.NotFound
	}
	return column
}

func isNumber(t featurestore.Type) bool {
	return t == featurestore.Int64 || t == featurestore.Float64 || t == featurestore.Bool
}

// Set stores a row's cell, which may alias memory that is used again.
func (c *Column) Set(row uint32, cell *featurestore.Cell) {
	c.Status[row] = cell.Status
	if c.Numbers != nil {
		c.Numbers[row] = cell.Value.Num
	} else {
		c.Values[row] = cell.Value.Clone()
	}
	if c.EventTimes != nil {
		c.EventTimes[row] = cell.EventTime
	}
}

// Cell is a row's value, status and event time; the event time is 0 when it was not asked
// for.
func (c *Column) Cell(row int) featurestore.Cell {
	cell := featurestore.Cell{Status: c.Status[row]}
	switch {
	case cell.Status != featurestore.Present:
	case c.Numbers != nil:
		cell.Value = featurestore.Value{Type: c.Type, Num: c.Numbers[row]}
	default:
		cell.Value = c.Values[row]
	}
	if c.EventTimes != nil {
		cell.EventTime = c.EventTimes[row]
	}
	return cell
}
