package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/served"
)

// Logged is a training set of what was served: a row for each vector of the serving log. It is
// not safe for concurrent use.
type Logged struct {
	kind, name string
	options    LoggedOptions
	schema     *arrow.Schema
	columns    []loggedColumn
	builder    *array.RecordBuilder
}

// LoggedOptions say what of the log comes along. The zero value is the values alone.
type LoggedOptions struct {
	// Statuses adds a column "view.feature.status" for each feature, Scores a model's scores.
	Statuses, Scores bool
}

// loggedColumn writes one column of a record.
type loggedColumn struct {
	field arrow.Field
	add   func(b array.Builder, r *served.Record) error
}

// NewLogged makes the training set of a feature service or a model by what the definitions say
// of it now: columns for the request's id and number of the vector, the read time, the join
// keys, a model's version and request fields, and the features. Errors are
// [featurestore.Unknown].
func NewLogged(catalog *featurestore.Catalog, kind, name string, o LoggedOptions) (*Logged, error) {
	l := &Logged{kind: kind, name: name, options: o}
	serviceName := name
	var model *featurestore.Model
	if kind == served.Model {
		if model = catalog.Model(name); model == nil {
			return nil, featurestore.Errorf(featurestore.Unknown, "there is no model %q", name)
		}
		serviceName = model.Service
	}
	service := catalog.Service(serviceName)
	if service == nil {
		return nil, featurestore.Errorf(featurestore.Unknown, "there is no feature service %q", serviceName)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(catalog, programs, service.Columns)
	if err != nil {
		return nil, err
	}
	l.identity(model)
	l.keys(p)
	if model != nil {
		for _, f := range model.Request {
			l.request(f.Name, f.Type)
		}
	} else {
		for _, f := range p.Request {
			l.request(f.Name, f.Type)
		}
	}
	for i := range p.Columns {
		l.feature(p.Columns[i].Ref.String(), p.Columns[i].Type)
	}
	if model != nil && o.Scores {
		l.column("score", arrow.PrimitiveTypes.Float64, func(b array.Builder, r *served.Record) error {
			if r.Score == nil {
				b.AppendNull()
			} else {
				b.(*array.Float64Builder).Append(*r.Score)
			}
			return nil
		})
	}
	fields := make([]arrow.Field, len(l.columns))
	for i := range l.columns {
		fields[i] = l.columns[i].field
	}
	l.schema = arrow.NewSchema(fields, nil)
	l.builder = array.NewRecordBuilder(memory.DefaultAllocator, l.schema)
	return l, nil
}

func (l *Logged) column(name string, typ arrow.DataType, add func(b array.Builder, r *served.Record) error) {
	l.columns = append(l.columns, loggedColumn{field: arrow.Field{Name: name, Type: typ, Nullable: true}, add: add})
}

// identity adds the columns that say which vector it is.
func (l *Logged) identity(model *featurestore.Model) {
	l.column("request_id", arrow.BinaryTypes.String, func(b array.Builder, r *served.Record) error {
		b.(*array.StringBuilder).Append(r.RequestID)
		return nil
	})
	l.column("request_row", arrow.PrimitiveTypes.Int64, func(b array.Builder, r *served.Record) error {
		b.(*array.Int64Builder).Append(r.Row)
		return nil
	})
	l.column(TimeColumn, microseconds, func(b array.Builder, r *served.Record) error {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(r.ReadTime))
		return nil
	})
	if model != nil {
		l.column("model_version", arrow.PrimitiveTypes.Int64, func(b array.Builder, r *served.Record) error {
			b.(*array.Int64Builder).Append(r.Version)
			return nil
		})
	}
}

// keys adds a column for each join key of the plan's entities.
func (l *Logged) keys(p *plan.Plan) {
	for _, entity := range p.Entities {
		for i, key := range entity.Keys {
			l.column(key.Name, arrowType(key.Type), func(b array.Builder, r *served.Record) error {
				at := slices.IndexFunc(r.Entities, func(e served.Entity) bool { return e.Name == entity.Name })
				if at < 0 {
					b.AppendNull()
					return nil
				}
				values, err := entity.ParseKey(r.Entities[at].Key)
				if err == nil {
					adder(b)(&values[i])
				}
				return err
			})
		}
	}
}

// request adds a column for a request field.
func (l *Logged) request(name string, typ featurestore.Type) {
	l.column("request."+name, arrowType(typ), func(b array.Builder, r *served.Record) error {
		at := slices.IndexFunc(r.Request, func(f served.Field) bool { return f.Name == name })
		if at < 0 {
			b.AppendNull()
			return nil
		}
		return l.value(b, r, "request field", name, r.Request[at].JSON, typ)
	})
}

// value adds a value from its JSON.
func (l *Logged) value(b array.Builder, r *served.Record, noun, name, text string, typ featurestore.Type) error {
	value, err := served.Value(text, typ)
	switch {
	case err != nil:
		return fmt.Errorf("%s %q of request %s: %w: it was of another type then; leave the time before out (--since)", noun, name, r.RequestID, err)
	case value.IsNull():
		b.AppendNull()
	default:
		adder(b)(&value)
	}
	return nil
}

func (l *Logged) feature(name string, typ featurestore.Type) {
	find := func(r *served.Record) *served.Feature {
		if at := slices.IndexFunc(r.Features, func(f served.Feature) bool { return f.Name == name }); at >= 0 {
			return &r.Features[at]
		}
		return nil // the model does not read it, or was not given it then
	}
	l.column(name, arrowType(typ), func(b array.Builder, r *served.Record) error {
		f := find(r)
		if f == nil {
			b.AppendNull()
			return nil
		}
		return l.value(b, r, "feature", name, f.JSON, typ)
	})
	if l.options.Statuses {
		l.column(name+".status", arrow.BinaryTypes.String, func(b array.Builder, r *served.Record) error {
			if f := find(r); f == nil {
				b.AppendNull()
			} else {
				b.(*array.StringBuilder).Append(f.Status.String())
			}
			return nil
		})
	}
}

// Schema is the training set's.
func (l *Logged) Schema() *arrow.Schema { return l.schema }

// Add adds the vector of a record, or leaves out one of something else. It says whether a batch
// is full.
func (l *Logged) Add(r *served.Record) (added, full bool, err error) {
	if r.Kind != l.kind || r.Name != l.name {
		return false, false, nil
	}
	for i := range l.columns {
		if err := l.columns[i].add(l.builder.Field(i), r); err != nil {
			return false, false, err
		}
	}
	return true, l.builder.Field(0).Len() >= MaxBatchRows, nil
}

// Batch takes the rows that were added since the last one. The caller releases it.
func (l *Logged) Batch() arrow.RecordBatch { return l.builder.NewRecordBatch() }

// Release frees the memory of the training set.
func (l *Logged) Release() { l.builder.Release() }

// FindLogged finds what a name means: a feature service or a model that has it. One that both
// have is written service/NAME or model/NAME.
func FindLogged(catalog *featurestore.Catalog, name string) (kind, found string, err error) {
	if kind, plain, ok := strings.Cut(name, "/"); ok && (kind == served.Service || kind == served.Model) {
		return kind, plain, nil
	}
	service, model := catalog.Service(name) != nil, catalog.Model(name) != nil
	switch {
	case service && model:
		return "", "", featurestore.Errorf(featurestore.Invalid, "both a feature service and a model are called %q: write service/%s or model/%s", name, name, name)
	case model:
		return served.Model, name, nil
	case service:
		return served.Service, name, nil
	default:
		return "", "", featurestore.Errorf(featurestore.Unknown, "there is no feature service and no model %q", name)
	}
}
