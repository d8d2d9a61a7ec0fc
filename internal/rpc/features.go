package rpc

import (
	"context"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/served"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/servedlog"
	"github.com/onehop/onehop/internal/serving"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// maxCells bounds rows × features of an answer.
const maxCells = 2_000_000

// Features answers what FeatureService says online; package offline adds the rest.
type Features struct {
	// Definitions are the definitions that are served.
	Definitions *serving.Current
	Store       *online.Store
	// Producer writes pushed events; nil when the service has no Kafka.
	Producer *stream.Producer
	// Log takes a sample of what is served; nil when the service logs nothing.
	Log *servedlog.Log
	// Now is the clock.
	Now func() time.Time
}

// GetOnlineFeatures reads features of many entities as of now.
func (f *Features) GetOnlineFeatures(ctx context.Context, req *onehopv1.GetOnlineFeaturesRequest) (*onehopv1.GetOnlineFeaturesResponse, error) {
	definitions, err := f.Definitions.Get()
	if err != nil {
		return nil, err
	}
	p, err := f.Plan(definitions, req.GetFeatureService(), req.GetFeatures())
	if err != nil {
		return nil, err
	}
	keys, rows, err := entityKeys(p.Plan, req.GetEntities())
	if err != nil {
		return nil, err
	}
	request, rows, err := requestFields(p.Plan, req.GetRequest(), rows)
	if err != nil {
		return nil, err
	}
	if rows*p.Cells > maxCells {
		return nil, featurestore.Errorf(featurestore.Invalid, "%d rows of %d features are more than %d values; ask in parts", rows, p.Cells, maxCells)
	}
	read := f.Store.NewRead()
	defer func() { read.Release() }() // which the log may have taken
	logged := f.Log.Sampled(p.Log)
	if logged {
		read.Mark()
	}
	for i, v := range p.Views {
		for row := range keys[v.Entity].Len() {
			read.Add(p.Online[i], keys[v.Entity].At(row))
		}
	}
	if err := read.Do(ctx); err != nil {
		return nil, err
	}
	if read.Filling() && !req.GetAllowStale() {
		return nil, errFilling()
	}
	res := &onehopv1.GetOnlineFeaturesResponse{Rows: uint32(rows), DefinitionsVersion: int64(definitions.Catalog.Version)}
	now := f.Now()
	if err := answer(ctx, &rowsRead{plan: p.Plan, keys: keys, request: request, rows: rows, read: read}, now, res); err != nil {
		return nil, err
	}
	if logged && read.Marked() && !read.Filling() {
		f.Log.Put(&servedlog.Vectors{
			Kind: served.Service, Name: req.GetFeatureService(), Plan: p.Plan, Keys: keys, Rows: rows, Read: read,
			Now: now.UnixMicro(), RequestID: requestID(ctx), Request: request,
		})
		read = nil
	}
	return res, nil
}

func errFilling() error {
	return featurestore.Errorf(featurestore.Unavailable, "the online store is being filled and may lack rows; try again later, or set allow_stale")
}

// Plan is the plan of a feature service or, where none is named, of features.
func (f *Features) Plan(d *serving.Definitions, service string, features []string) (*serving.Plan, error) {
	if service != "" {
		return d.Service(service)
	}
	refs, err := plan.Expand(d.Catalog, features)
	if err != nil {
		return nil, err
	}
	return d.Plan(refs)
}

// entityKeys encodes the keys of each entity of a plan. rows is the number of rows;
// an entity with one key holds for all of them.
func entityKeys(p *plan.Plan, given map[string]*onehopv1.Values) (keys []plan.Keys, rows int, err error) {
	var names []string
	keys = make([]plan.Keys, len(p.Entities))
	for i, entity := range p.Entities {
		columns := make([]plan.KeyColumn, len(entity.Keys))
		for j, key := range entity.Keys {
			names = append(names, key.Name)
			if columns[j], err = keyColumn("entities", key, given[key.Name]); err != nil {
				return nil, 0, err
			}
		}
		if err := keys[i].Set(entity, columns); err != nil {
			return nil, 0, err
		}
		rows = max(rows, keys[i].Len())
	}
	for i := range keys {
		if n := keys[i].Len(); n != rows && n != 1 {
			return nil, 0, featurestore.Errorf(featurestore.Invalid, "entities: entity %q has %d keys where there are %d rows", p.Entities[i].Name, n, rows)
		}
	}
	wanted := func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	}
	return keys, rows, checkNames("entities", given, wanted, names)
}

// rowsRead is what an answer is made of.
type rowsRead struct {
	plan    *plan.Plan
	keys    []plan.Keys
	request [][]featurestore.Value
	rows    int
	read    *online.Read
}

// answer reads every column as of now, and says of which rows the values are of later.
func answer(ctx context.Context, r *rowsRead, now time.Time, res *onehopv1.GetOnlineFeaturesResponse) error {
	p := r.plan
	res.ReadTimeUs = now.UnixMicro()
	builders := make([]columnBuilder, len(p.Columns))
	res.Columns = make([]*onehopv1.Column, len(p.Columns))
	for i, c := range p.Columns {
		builders[i] = newColumn(c.Ref.String(), c.Type, r.rows)
		res.Columns[i] = builders[i].column
	}
	cells, request, computer, size := make([]featurestore.Cell, p.Cells), make([]featurestore.Value, len(p.Request)), p.Computer(), 0
	for row := range r.rows {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := r.cells(row, cells, res); err != nil {
			return err
		}
		computer.Compute(cells, valuesAt(request, r.request, row))
		for i := range p.Columns {
			cell := &cells[p.Columns[i].Cell]
			builders[i].add(cell)
			size += cell.Value.TextBytes()
		}
		if size > maxText {
			return featurestore.Errorf(featurestore.Exhausted, "the text of this answer is more than %d MiB; ask for fewer rows or features", maxText>>20)
		}
	}
	return nil
}

// cells reads a row of the plan, as of the answer's time, after those before it: an entity
// with one key was read with the first.
func (r *rowsRead) cells(row int, cells []featurestore.Cell, res *onehopv1.GetOnlineFeaturesResponse) error {
	first := 0
	for i := range r.plan.Views {
		v := &r.plan.Views[i]
		n := r.keys[v.Entity].Len()
		if row < n {
			packed, own := r.read.Row(first+row), cells[v.First:v.First+len(v.Columns)]
			if err := v.Reader.Read(packed, res.GetReadTimeUs(), own); err != nil {
				return err
			}
			if t := fold.ReadTime(res.GetReadTimeUs(), v.Reader.Newest(packed)); t > res.GetReadTimeUs() {
				res.LaterReads = append(res.LaterReads, &onehopv1.LaterRead{View: v.Name, Row: uint32(row), ReadTimeUs: t})
			}
			if r.read.Filling() {
				featurestore.MarkFilling(own)
			}
		}
		first += n
	}
	return nil
}

// maxText bounds the text and bytes of an answer.
const maxText = 32 << 20

// ListFeatureViews lists the views that are served.
func (f *Features) ListFeatureViews(context.Context, *onehopv1.ListFeatureViewsRequest) (*onehopv1.ListFeatureViewsResponse, error) {
	d, err := f.Definitions.Get()
	if err != nil {
		return nil, err
	}
	res := &onehopv1.ListFeatureViewsResponse{DefinitionsVersion: int64(d.Catalog.Version)}
	for i := range d.Catalog.Views {
		res.Views = append(res.Views, describe(d.Catalog, &d.Catalog.Views[i]))
	}
	for i := range d.Catalog.OnDemand {
		res.Views = append(res.Views, describeOnDemand(&d.Catalog.OnDemand[i]))
	}
	return res, nil
}

// GetFeatureView describes one view.
func (f *Features) GetFeatureView(_ context.Context, req *onehopv1.GetFeatureViewRequest) (*onehopv1.GetFeatureViewResponse, error) {
	d, err := f.Definitions.Get()
	if err != nil {
		return nil, err
	}
	if group := d.Catalog.OnDemandGroup(req.GetName()); group != nil {
		return &onehopv1.GetFeatureViewResponse{View: describeOnDemand(group)}, nil
	}
	view := d.Catalog.View(req.GetName())
	if view == nil {
		return nil, featurestore.Errorf(featurestore.Unknown, "there is no feature view %q", shortName(req.GetName()))
	}
	return &onehopv1.GetFeatureViewResponse{View: describe(d.Catalog, view)}, nil
}

func describe(c *featurestore.Catalog, v *featurestore.View) *onehopv1.FeatureView {
	out := &onehopv1.FeatureView{
		Name: v.Name, Entity: v.Entity, Source: v.Source,
		TtlSeconds: int64(v.TTL / time.Second), Generation: int64(v.Generation),
	}
	for _, key := range c.Entity(v.Entity).Keys {
		out.JoinKeys = append(out.JoinKeys, &onehopv1.JoinKey{Name: key.Name, Type: key.Type.String()})
	}
	for _, column := range v.Columns() {
		feature := v.Features[column.Feature]
		d := &onehopv1.FeatureDescription{
			Name: column.Name, Type: column.Type.String(), Aggregate: feature.Aggregate,
			Field: feature.Field, Description: feature.Description,
		}
		if column.Window >= 0 {
			d.Window = feature.Windows[column.Window].String()
		}
		out.Features = append(out.Features, d)
	}
	return out
}

func describeOnDemand(group *featurestore.OnDemand) *onehopv1.FeatureView {
	out := &onehopv1.FeatureView{Name: group.Name}
	for _, field := range group.Request {
		out.Request = append(out.Request, &onehopv1.RequestField{Name: field.Name, Type: field.Type.String()})
	}
	for i := range group.Features {
		f := &group.Features[i]
		out.Features = append(out.Features, &onehopv1.FeatureDescription{
			Name: f.Name, Type: f.Type.String(), Description: f.Description, Expression: f.Expression,
		})
	}
	return out
}
