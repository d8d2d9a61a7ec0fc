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
	view := c.catalog.View(viewName)
	if view == nil {
		return nil, false
	}
	if _, found := view.Column(column); column != "*" && !found {
		var columns []string
		for _, col := range view.Columns() {
			columns = append(columns, col.Name)
		}
		c.addf(name.place, "feature view %q has no feature %q%s", viewName, column, hint(column, columns))
		return nil, false
	}
	refs, err := plan.Expand(c.catalog, []string{name.value})
	if err != nil {
		c.addf(name.place, "%v", err)
	}
	return refs, err == nil
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
	if entities := c.entitiesOf(service); !slices.Contains(entities, model.Candidates) {
		c.addf(def.Candidates.place, "feature service %q has no features of entity %q, so it cannot be the candidates' entity; it has %s",
			service.Name, model.Candidates, joinAnd(entities))
		return
	}
	c.catalog.Models = append(c.catalog.Models, model)
}

// entitiesOf lists the entities that a service's features describe, sorted.
func (c *checker) entitiesOf(service *featurestore.Service) []string {
	var entities []string
	for _, ref := range service.Columns {
		entities = append(entities, c.catalog.View(ref.View).Entity)
	}
	slices.Sort(entities)
	return slices.Compact(entities)
}
