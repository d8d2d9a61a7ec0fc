package definition

import (
	"errors"
	"fmt"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/expr"
)

// notRequest refuses the name by which the fields of a request are called.
func (c *checker) notRequest(noun string, name text) bool {
	if name.value != featurestore.RequestView {
		return true
	}
	c.addf(name.place, "%s cannot be called %q: models and expressions read the fields of a request by that name", noun, name.value)
	return false
}

// groups checks the on-demand groups, of which all names are known first: one cannot refer
// to another.
func (c *checker) groups() {
	unique := make([]bool, len(c.onDemand))
	for i := range c.onDemand {
		name := c.onDemand[i].Name
		if unique[i] = c.viewNames.define(c.report, "on-demand group", name); unique[i] {
			c.groupNames[name.value] = name.place
		}
	}
	fields := map[string]typedAt{}
	for i := range c.onDemand {
		def := &c.onDemand[i]
		ok := c.notRequest("an on-demand group", def.Name)
		group := featurestore.OnDemand{Name: def.Name.value}
		ok = c.requestFields(def, &group, fields) && ok
		ok = c.expressions(def, &group) && ok
		if ok && unique[i] && !def.broken {
			c.catalog.OnDemand = append(c.catalog.OnDemand, group)
		}
	}
}

// typedAt is the type of a request field, and where it has it.
type typedAt struct {
	typ string
	at  place
}

func (c *checker) requestFields(def *onDemandDef, group *featurestore.OnDemand, all map[string]typedAt) bool {
	ok := true
	seen := names{}
	for i := range def.Request {
		f := &def.Request[i]
		unique := seen.define(c.report, "request field", f.Name)
		ok = unique && !f.broken && ok
		if !unique || f.broken {
			continue
		}
		if first, there := all[f.Name.value]; there && first.typ != f.Type.value {
			c.addf(f.Type.place, "request field %q is %s here and %s at %s: a field has one type in all groups", f.Name.value, f.Type.value, first.typ, first.at)
			ok = false
			continue
		}
		all[f.Name.value] = typedAt{typ: f.Type.value, at: f.Type.place}
		typ, _ := featurestore.ParseType(f.Type.value)
		group.Request = append(group.Request, featurestore.Field{Name: f.Name.value, Type: typ})
	}
	return ok
}

func (c *checker) expressions(def *onDemandDef, group *featurestore.OnDemand) bool {
	ok := true
	seen := names{}
	for i := range def.Features {
		f := &def.Features[i]
		ok = seen.define(c.report, "feature", f.Name) && ok
		if f.broken || !f.Expression.given() {
			ok = false
			continue
		}
		e, sound := c.expression(f, def, group)
		group.Features = append(group.Features, e)
		ok = sound && ok
	}
	return ok
}

func (c *checker) expression(def *expressionDef, in *onDemandDef, group *featurestore.OnDemand) (featurestore.Expression, bool) {
	e := featurestore.Expression{Name: def.Name.value, Description: def.Description.value, Expression: def.Expression.value}
	compiled, err := expr.NewExpression(e.Expression, c.scope(in, group))
	if errors.Is(err, errWrongItself) {
		return e, false
	}
	if err != nil {
		c.addf(def.Expression.place, "feature %q: %v", e.Name, err)
		return e, false
	}
	e.Type, e.Inputs = compiled.Type(), compiled.Inputs()
	if len(e.Inputs) == 0 {
		c.addf(def.Expression.place, "feature %q: the expression reads no feature and no request field", e.Name)
		return e, false
	}
	if def.Type.given() && def.Type.value != e.Type.String() {
		c.addf(def.Type.place, "feature %q: the expression gives %s, not %s", e.Name, e.Type, def.Type.value)
		return e, false
	}
	return e, true
}

// errWrongItself says that what an expression refers to is wrong, which is reported there.
var errWrongItself = errors.New("it is wrong itself")

// scope is what an expression of a group may refer to.
func (c *checker) scope(def *onDemandDef, group *featurestore.OnDemand) expr.Scope {
	return func(ref featurestore.Ref) (featurestore.Type, error) {
		if ref.View == featurestore.RequestView {
			return requestType(ref, def, group)
		}
		if _, is := c.groupNames[ref.View]; is {
			return 0, fmt.Errorf("%s is computed on demand itself, and an expression reads features of views and request fields: write what it is computed from", ref)
		}
		view := c.catalog.View(ref.View)
		if _, defined := c.viewNames[ref.View]; view == nil && defined {
			return 0, errWrongItself
		}
		if view == nil {
			var all []string
			for i := range c.catalog.Views {
				all = append(all, c.catalog.Views[i].Name)
			}
			return 0, fmt.Errorf("there is no feature view %q%s", ref.View, hint(ref.View, all))
		}
		column, found := view.Column(ref.Column)
		if !found {
			_, all := c.columnsOf(ref.View)
			return 0, fmt.Errorf("feature view %q has no feature %q%s", ref.View, ref.Column, hint(ref.Column, all))
		}
		return column.Type, nil
	}
}

func requestType(ref featurestore.Ref, def *onDemandDef, group *featurestore.OnDemand) (featurestore.Type, error) {
	if field := group.Field(ref.Column); field != nil {
		return field.Type, nil
	}
	var all []string
	for i := range def.Request {
		if all = append(all, def.Request[i].Name.value); def.Request[i].Name.value == ref.Column {
			return 0, errWrongItself
		}
	}
	if near := nearest(ref.Column, all); near != "" {
		return 0, fmt.Errorf("the group has no request field %q; did you mean %q?", ref.Column, near)
	}
	return 0, fmt.Errorf("the group has no request field %q: list it under request", ref.Column)
}
