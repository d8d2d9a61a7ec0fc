package files

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore/training/table"
)

// guess is what the cells of a column are: of its type, if that is known, else what all of
// them that were seen can be.
type guess struct {
	known              arrow.DataType
	seen               bool
	integer, real, yes bool // whether all can be an int64, a float64, a bool
}

func newGuesses(header []string, typed map[string]arrow.DataType) []guess {
	guesses := make([]guess, len(header))
	for i, name := range header {
		guesses[i] = guess{known: typed[name], integer: true, real: true, yes: true}
	}
	return guesses
}

// see narrows the guess by a cell.
func (g *guess) see(cell string) error {
	switch {
	case cell == "":
		return nil
	case !utf8.ValidString(cell):
		return errors.New("it is not UTF-8: save the file with that encoding")
	case g.known != nil:
		return fits(g.known, cell)
	}
	g.seen = true
	g.integer = g.integer && isInteger(cell)
	g.real = g.real && isReal(cell)
	g.yes = g.yes && (cell == "true" || cell == "false")
	return nil
}

func (g *guess) arrowType() arrow.DataType {
	switch {
	case g.known != nil:
		return g.known
	case !g.seen: // all null
		return arrow.BinaryTypes.String
	case g.integer:
		return arrow.PrimitiveTypes.Int64
	case g.real:
		return arrow.PrimitiveTypes.Float64
	case g.yes:
		return arrow.FixedWidthTypes.Boolean
	default:
		return arrow.BinaryTypes.String
	}
}

// isInteger says whether a cell is an int64 written in the one usual way: 007 is a text.
func isInteger(cell string) bool {
	n, err := strconv.ParseInt(cell, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == cell
}

// isReal says whether a cell is a float64 that loses nothing by being one.
func isReal(cell string) bool {
	if cell == "NaN" || cell == "inf" || cell == "-inf" {
		return true
	}
	digits := strings.TrimPrefix(cell, "-")
	if digits == "" || digits[0] == '+' || strings.Trim(digits, "0123456789.eE+-") != "" || len(digits) > 1 && digits[0] == '0' && digits[1] != '.' && digits[1] != 'e' && digits[1] != 'E' {
		return false
	}
	x, err := strconv.ParseFloat(cell, 64)
	if whole := strings.Trim(digits, "0123456789") == ""; whole && math.Abs(x) >= 1<<53 {
		return false
	}
	return err == nil
}

// fits says what is wrong with a cell of a known type.
func fits(typ arrow.DataType, cell string) error {
	switch typ.ID() {
	case arrow.INT64:
		if _, err := strconv.ParseInt(cell, 10, 64); err != nil {
			return fmt.Errorf("%q is not an integer of 64 bits", shorten(cell))
		}
	case arrow.FLOAT64:
		if _, err := strconv.ParseFloat(cell, 64); err != nil {
			return fmt.Errorf("%q is not a number of 64 bits", shorten(cell))
		}
	case arrow.BOOL:
		if cell != "true" && cell != "false" {
			return fmt.Errorf("%q is neither true nor false", shorten(cell))
		}
	case arrow.TIMESTAMP:
		_, err := table.ParseTime(cell)
		return err
	case arrow.BINARY:
		if _, err := base64.StdEncoding.DecodeString(cell); err != nil {
			return fmt.Errorf("%q is not base64, as which bytes are written in CSV", shorten(cell))
		}
	default:
	}
	return nil
}

func shorten(cell string) string {
	const most = 40
	if len(cell) > most {
		return cell[:most] + "…"
	}
	return cell
}

// appendCell appends a cell that was seen to the column of its type.
func appendCell(b array.Builder, cell string) error {
	if cell == "" {
		b.AppendNull()
		return nil
	}
	switch b := b.(type) {
	case *array.Int64Builder:
		n, err := strconv.ParseInt(cell, 10, 64)
		b.Append(n)
		return err
	case *array.Float64Builder:
		x, err := strconv.ParseFloat(cell, 64)
		b.Append(x)
		return err
	case *array.BooleanBuilder:
		b.Append(cell == "true")
	case *array.TimestampBuilder:
		us, err := table.ParseTime(cell)
		b.Append(arrow.Timestamp(us))
		return err
	case *array.BinaryBuilder:
		raw, err := base64.StdEncoding.DecodeString(cell)
		b.Append(raw)
		return err
	case *array.StringBuilder:
		b.Append(cell)
	default:
		return fmt.Errorf("%s is not read from CSV", b.Type())
	}
	return nil
}
