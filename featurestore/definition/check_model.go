package definition

import (
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
)

func (c *checker) service(def *serviceDef) {
	ok := c.serviceNames.define(c.report, "feature service", def.Name)
	service := featurestore.Service{Name: def.Name.value, Log: def.Log.log()}
	first := map[featurestore.Ref]place{}
	for _, name := range def.Features {
		if !name.given() {
			ok = false
			continue
		}
		refs, sound := c.refs(name)
		ok = sound && ok
		for _, ref := range refs {
			if at, twice := first[ref]; twice {
				c.addf(name.place, "feature %s is listed twice; it is also at line %d, column %d", ref, at.line, at.column)
				ok = false
				break // one of view.* stands for all
			}
			first[ref] = name.place
			service.Columns = append(service.Columns, ref)
		}
	}
	if ok && !def.broken {
		c.catalog.Services = append(c.catalog.Services, service)
	}
}

// refs reads one entry of a service's list. A view that is wrong itself gives none.
func (c *checker) refs(name text) (refs []featurestore.Ref, ok bool) {
	viewName, column, _ := strings.Cut(name.value, ".")
	if !c.viewNames.refer(c.report, "feature view", text{place: name.place, value: viewName}) {
		return nil, false
	}
	noun, columns := c.columnsOf(viewName)
	if columns == nil {
		return nil, false
	}
	if column != "*" && !slices.Contains(columns, column) {
		c.addf(name.place, "%s %q has no feature %q%s", noun, viewName, column, hint(column, columns))
		return nil, false
	}
	refs, err := plan.Expand(c.catalog, []string{name.value})
	if err != nil {
		c.addf(name.place, "%v", err)
	}
	return refs, err == nil
}

// columnsOf are the features of a view or of an on-demand group, nil when it is wrong itself.
func (c *checker) columnsOf(name string) (noun string, columns []string) {
	if group := c.catalog.OnDemandGroup(name); group != nil {
		for i := range group.Features {
			columns = append(columns, group.Features[i].Name)
		}
		return "on-demand group", columns
	}
	if view := c.catalog.View(name); view != nil {
		for _, column := range view.Columns() {
			columns = append(columns, column.Name)
		}
	}
	return "feature view", columns
}

func (c *checker) model(def *modelDef, modelNames names) {
	ok := modelNames.define(c.report, "model", def.Name)
	ok = c.serviceNames.refer(c.report, "feature service", def.Service) && ok
	ok = c.entityNames.refer(c.report, "entity", def.Candidates) && ok
	model := featurestore.Model{Name: def.Name.value, Service: def.Service.value, Candidates: def.Candidates.value, Log: def.Log.log()}
	fields := names{}
	for i := range def.Request {
		f := &def.Request[i]
		ok = fields.define(c.report, "request field", f.Name) && ok
		typ, _ := featurestore.ParseType(f.Type.value)
		model.Request = append(model.Request, featurestore.Field{Name: f.Name.value, Type: typ, Required: true})
	}
	service := c.catalog.Service(model.Service)
	if !ok || def.broken || service == nil {
		return
	}
	if !c.covers(def, &model, service) {
		return
	}
	if entities := slices.Sorted(slices.Values(c.catalog.EntitiesOf(service.Columns))); !slices.Contains(entities, model.Candidates) {
		c.addf(def.Candidates.place, "feature service %q has no features of entity %q, so it cannot be the candidates' entity; it has %s",
			service.Name, model.Candidates, joinAnd(entities))
		return
	}
	c.catalog.Models = append(c.catalog.Models, model)
}

// covers checks that requests of a model bring what features of its service are computed
// from.
func (c *checker) covers(def *modelDef, model *featurestore.Model, service *featurestore.Service) bool {
	ok := true
	for _, ref := range service.Columns {
		group, e := c.catalog.Expression(ref)
		if e == nil {
			continue
		}
		for _, input := range e.Inputs {
			if input.View != featurestore.RequestView {
				continue
			}
			want := group.Field(input.Column).Type
			switch i := slices.IndexFunc(model.Request, func(f featurestore.Field) bool { return f.Name == input.Column }); {
			case i < 0:
				c.addf(def.Service.place, "feature %q of feature service %q is computed from the request field %q: add {name: %s, type: %s} under request",
					ref, service.Name, input.Column, input.Column, want)
				ok = false
			case model.Request[i].Type != want:
				c.addf(def.Request[i].Type.place, "request field %q is %s; feature %q of feature service %q is computed from one that is %s",
					input.Column, model.Request[i].Type, ref, service.Name, want)
				ok = false
			}
		}
	}
	return ok
}
