package table

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// Table is a training set of one schema of spines. It is immutable and safe for concurrent
// use.
type Table struct {
	join    *training.Join
	options Options
	schema  *arrow.Schema
	time    column
	// keys are, for each entity of the plan, the spine's columns of its join keys.
	keys [][]column
	// request are the spine's columns of the plan's request fields.
	request []column
	chunk   int
}

// column is a column of the spine that the join reads.
type column struct {
	index int
	name  string
	key   featurestore.Type // of a join key, or of a request field
}

// New checks that spines of a schema can be joined. Errors are [featurestore.Invalid], and
// name the column.
func New(join *training.Join, spine *arrow.Schema, o Options) (*Table, error) {
	o = o.withDefaults()
	t := &Table{join: join, options: o, chunk: chunkRows(join, &o)}
	columns := map[string]int{}
	for i, f := range spine.Fields() {
		if _, twice := columns[f.Name]; twice {
			return nil, invalid("the spine has two columns %q: rename one", f.Name)
		}
		columns[f.Name] = i
	}
	var err error
	if t.time, err = t.timeColumn(spine, columns); err != nil {
		return nil, err
	}
	for _, entity := range join.Plan().Entities {
		var keys []column
		for _, key := range entity.Keys {
			c, err := keyColumn(spine, columns, entity, key)
			if err != nil {
				return nil, err
			}
			keys = append(keys, c)
		}
		t.keys = append(t.keys, keys)
	}
	for _, field := range join.Plan().Request {
		c, err := fieldColumn(spine, columns, &field)
		if err != nil {
			return nil, err
		}
		t.request = append(t.request, c)
	}
	fields := spine.Fields()
	for _, f := range t.added() {
		if _, there := columns[f.Name]; there {
			return nil, invalid("column %q of the spine has the name of a column that is to be added: rename it", f.Name)
		}
		fields = append(fields, f)
	}
	metadata := spine.Metadata()
	t.schema = arrow.NewSchema(fields, &metadata)
	return t, nil
}

// Schema is the training set's: the columns of the spine, then those of the features.
func (t *Table) Schema() *arrow.Schema { return t.schema }

// Columns are the types that a plan's join keys, its request fields and the column of times
// have at best; by them, readers of formats without types read.
func Columns(p *plan.Plan, timeColumn string) map[string]arrow.DataType {
	if timeColumn == "" {
		timeColumn = TimeColumn
	}
	columns := map[string]arrow.DataType{timeColumn: microseconds}
	for i := range p.Request {
		columns[p.Request[i].Name] = arrowType(p.Request[i].Type)
	}
	for _, entity := range p.Entities {
		for _, key := range entity.Keys {
			columns[key.Name] = arrowType(key.Type)
		}
	}
	return columns
}

func (t *Table) timeColumn(spine *arrow.Schema, columns map[string]int) (column, error) {
	name := t.options.TimeColumn
	i, ok := columns[name]
	if !ok {
		return column{}, invalid("the spine has no column %q of times: name the one that it has (time column), or add it", name)
	}
	switch typ := spine.Field(i).Type.(type) {
	case *arrow.TimestampType:
		if typ.TimeZone == "" {
			return column{}, invalid("column %q is a timestamp without a time zone, so it may mean many moments: give it the zone that it was written in, "+
				"as by tz_localize(\"UTC\") in pandas or AT TIME ZONE 'UTC' in SQL", name)
		}
	case *arrow.StringType, *arrow.LargeStringType:
	default:
		return column{}, invalid("column %q is %s; times are a timestamp with a time zone, or text such as 2026-01-02T15:04:05Z", name, typ)
	}
	return column{index: i, name: name}, nil
}

func keyColumn(spine *arrow.Schema, columns map[string]int, entity *featurestore.Entity, key featurestore.JoinKey) (column, error) {
	i, ok := columns[key.Name]
	if !ok {
		return column{}, invalid("the spine has no column %q, a join key of entity %q: add it, or rename the one that holds it", key.Name, entity.Name)
	}
	if typ := spine.Field(i).Type; !canBeKey(typ, key.Type) {
		return column{}, invalid("column %q is %s; the join key of entity %q is %s: %s", key.Name, typ, entity.Name, key.Type, keyAdvice[key.Type])
	}
	return column{index: i, name: key.Name, key: key.Type}, nil
}

var keyAdvice = map[featurestore.Type]string{
	featurestore.Int64: "give a column of integers", featurestore.String: "give a column of text",
	featurestore.Bytes: "give a column of binary",
}

func canBeKey(typ arrow.DataType, key featurestore.Type) bool {
	if d, ok := typ.(*arrow.DictionaryType); ok && key == featurestore.String {
		typ = d.ValueType
	}
	switch typ.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		return key == featurestore.Int64
	case arrow.STRING, arrow.LARGE_STRING:
		return key == featurestore.String
	case arrow.BINARY, arrow.LARGE_BINARY:
		return key == featurestore.Bytes
	default:
		return false
	}
}

func invalid(format string, args ...any) error {
	return featurestore.Errorf(featurestore.Invalid, format, args...)
}

// cellError is a mistake in one cell; rows count from 0 here and from 1 in the message.
func cellError(row int64, column, format string, args ...any) error {
	return invalid("row %d, column %q: %s", row+1, column, fmt.Sprintf(format, args...))
}
