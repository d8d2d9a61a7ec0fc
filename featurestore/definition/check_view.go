package definition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/expr"
	"github.com/onehop/onehop/featurestore/fold"
)

func (c *checker) view(def *viewDef) {
	ok := c.viewNames.define(c.report, "feature view", def.Name)
	ok = c.notRequest("a feature view", def.Name) && ok
	ok = c.entityNames.refer(c.report, "entity", def.Entity) && ok
	ok = c.sourceNames.refer(c.report, "source", def.Source) && ok
	entity, source := c.catalog.Entity(def.Entity.value), c.catalog.Source(def.Source.value)
	view := featurestore.View{
		Name: def.Name.value, Entity: def.Entity.value, Source: def.Source.value, TTL: def.TTL.value, NearCache: def.NearCache.value,
	}
	if entity != nil && source != nil {
		fields, joined := c.joinFields(def, entity, source)
		view.JoinFields, ok = fields, joined && ok
	}
	ok = c.features(def, &view, source) && ok
	ok = c.dedupe(def, &view, source) && ok
	if !ok || def.broken || entity == nil || source == nil {
		return
	}
	if _, err := fold.Compile(&view, source); err != nil {
		c.addf(def.Name.place, "%v", err)
		return
	}
	c.catalog.Views = append(c.catalog.Views, view)
}

// joinFields finds the field of the source that holds each of the entity's join keys.
func (c *checker) joinFields(def *viewDef, entity *featurestore.Entity, source *featurestore.Source) (fields []string, ok bool) {
	ok = true
	chosen := map[string]text{}
	var keys []string
	for _, k := range entity.Keys {
		keys = append(keys, k.Name)
	}
	for _, p := range def.JoinKeys.list {
		chosen[p.key.value] = p.value
		if !slices.Contains(keys, p.key.value) {
			c.addf(p.key.place, "entity %q has no join key %q%s", entity.Name, p.key.value, hint(p.key.value, keys))
			ok = false
		}
	}
	used := map[string]string{}
	for _, key := range entity.Keys {
		name, given := chosen[key.Name]
		if !given && (def.broken || !ok) {
			continue // perhaps it was meant, and what is wrong is reported
		}
		if !given {
			name = text{place: def.Source.place, value: key.Name}
		}
		fields = append(fields, name.value)
		ok = c.joinField(name, given, key, source) && ok
		if other, twice := used[name.value]; twice {
			c.addf(name.place, "field %q is both join key %q and join key %q", name.value, other, key.Name)
			ok = false
		}
		used[name.value] = key.Name
	}
	return fields, ok
}

func (c *checker) joinField(name text, given bool, key featurestore.JoinKey, source *featurestore.Source) bool {
	i := source.Field(name.value)
	switch {
	case i < 0 && given:
		c.addf(name.place, "source %q has no field %q%s", source.Name, name.value, hint(name.value, fieldNames(source)))
	case i < 0:
		c.addf(name.place, "source %q has no field %q for the join key of that name%s Add it, or name another field under join_keys",
			source.Name, name.value, sentence(hint(name.value, fieldNames(source))))
	case source.Fields[i].Type != key.Type:
		c.addf(name.place, "field %q of source %q is %s; join key %q is %s", name.value, source.Name, source.Fields[i].Type, key.Name, key.Type)
	case !source.Fields[i].Required && source.Fields[i].Default == nil:
		c.addf(name.place, "field %q of source %q is a join key and must never be null: add \"required: true\" to it, or a default", name.value, source.Name)
	default:
		return true
	}
	return false
}

// sentence ends a hint so that another sentence can follow.
func sentence(hint string) string {
	if hint == "" || hint[len(hint)-1] != '?' {
		return hint + "."
	}
	return hint
}

func fieldNames(source *featurestore.Source) []string {
	all := make([]string, len(source.Fields))
	for i := range source.Fields {
		all[i] = source.Fields[i].Name
	}
	return all
}

// features checks the view's features and the names of the columns that they make.
// source is nil when it is wrong itself; fields and types are then not checked.
func (c *checker) features(def *viewDef, view *featurestore.View, source *featurestore.Source) bool {
	ok := true
	seen, columns := names{}, map[string]string{}
	for i := range def.Features {
		f := &def.Features[i]
		unique := seen.define(c.report, "feature", f.Name)
		feature, sound := c.feature(f, source)
		view.Features = append(view.Features, feature)
		ok = ok && unique && sound
		if !unique || !sound {
			continue
		}
		one := featurestore.View{Features: []featurestore.Feature{feature}}
		for _, column := range one.Columns() {
			if other, taken := columns[column.Name]; taken {
				c.addf(f.Name.place, "feature %q makes the column %q, which feature %q also makes: rename one", feature.Name, column.Name, other)
				ok = false
				break
			}
			columns[column.Name] = feature.Name
		}
	}
	return ok
}

// defaultDedupe is how many identities a row remembers when the definition does not say.
const defaultDedupe = 100

func (c *checker) dedupe(def *viewDef, view *featurestore.View, source *featurestore.Source) bool {
	if !def.Dedupe.By.given() {
		return true
	}
	view.Dedupe = featurestore.Dedupe{Field: def.Dedupe.By.value, Last: cmp.Or(def.Dedupe.Last.value, defaultDedupe)}
	if source == nil {
		return true
	}
	switch i := source.Field(view.Dedupe.Field); {
	case i < 0:
		c.addf(def.Dedupe.By.place, "source %q has no field %q%s", source.Name, view.Dedupe.Field, hint(view.Dedupe.Field, fieldNames(source)))
	case source.Fields[i].Type.IsList():
		c.addf(def.Dedupe.By.place, "field %q is %s; a scalar identifies an event", view.Dedupe.Field, source.Fields[i].Type)
	default:
		return true
	}
	return false
}

func (c *checker) feature(def *featureDef, source *featurestore.Source) (featurestore.Feature, bool) {
	feature := featurestore.Feature{
		Name: def.Name.value, Description: def.Description.value, Aggregate: def.Aggregate.value,
		Field: def.Field.value, N: def.N.value, Q: def.Q.value, Of: def.Of.value, HalfLife: def.HalfLife.value,
		Where: def.Where.value, Exact: def.Exact.value,
	}
	if def.broken {
		return feature, false
	}
	ok := true
	lengths := map[string]place{}
	for i := range def.Windows {
		w, sound := c.window(&feature, &def.Windows[i])
		feature.Windows = append(feature.Windows, w)
		if first, twice := lengths[w.String()]; twice {
			c.addf(def.Windows[i].place, "window %s is listed twice; it is also at line %d, column %d", w, first.line, first.column)
			sound = false
		}
		lengths[w.String()] = def.Windows[i].place
		ok = sound && ok
	}
	if !ok || source == nil {
		return feature, ok
	}
	if def.Field.given() && source.Field(feature.Field) < 0 {
		c.addf(def.Field.place, "source %q has no field %q%s", source.Name, feature.Field, hint(feature.Field, fieldNames(source)))
		return feature, false
	}
	if def.Where.given() {
		if _, err := expr.NewFilter(feature.Where, source); err != nil {
			c.addf(def.Where.place, "feature %q: where: %v", feature.Name, err)
			return feature, false
		}
	}
	var err error
	if feature.Type, err = fold.Check(&feature, source); err != nil {
		at, message := c.blame(def, &feature, source, err)
		c.addf(at, "feature %q: %s", feature.Name, message)
	}
	return feature, err == nil
}

// blame finds the place of what fold refuses: a window when only that one is wrong,
// else the aggregate.
func (c *checker) blame(def *featureDef, f *featurestore.Feature, source *featurestore.Source, err error) (place, string) {
	without := *f
	without.Windows = []featurestore.Window{{}}
	if _, general := fold.Check(&without, source); general != nil {
		return def.Aggregate.place, err.Error()
	}
	for i, w := range f.Windows {
		without.Windows[0] = w
		if _, err := fold.Check(&without, source); err != nil {
			return def.Windows[i].place, err.Error()
		}
	}
	return def.Aggregate.place, err.Error()
}

func (c *checker) window(f *featurestore.Feature, def *windowDef) (featurestore.Window, bool) {
	w := defaultWindow(f, def.Length.value)
	switch {
	case !def.Hop.given():
		return w, true
	case f.Exact > 0:
		c.addf(def.Hop.place, "an exact window has no hop: remove it, or \"exact\"")
		return w, false
	case w.Length == featurestore.Lifetime:
		c.addf(def.Hop.place, "a lifetime has no hop: remove it")
		return w, false
	}
	w.Hop = def.Hop.value
	return w, true
}

// MaxRowBytes is the largest row, in the worst case, that a view may have.
const MaxRowBytes = 64 << 10

// rowSize refuses a view whose rows may become too large.
func (c *checker) rowSize(view *featurestore.View) {
	source := c.catalog.Source(view.Source)
	size := func(v *featurestore.View) int {
		program, err := fold.Compile(v, source)
		if err != nil {
			return 0
		}
		return program.MaxRowBytes()
	}
	total := size(view)
	if total <= MaxRowBytes {
		return
	}
	costliest, most := 0, 0
	for i := range view.Features {
		one := *view
		one.Features = view.Features[i : i+1]
		if n := size(&one); n > most {
			costliest, most = i, n
		}
	}
	f := &view.Features[costliest]
	c.addf(c.featurePlace(view.Name, costliest), "a row of feature view %q can take %d bytes; at most %d are allowed. Feature %q (%s) alone can take %d: %s",
		view.Name, total, MaxRowBytes, f.Name, describe(f), most, remedy(f, source))
}

func remedy(f *featurestore.Feature, source *featurestore.Source) string {
	switch {
	case f.Exact > 0:
		return fmt.Sprintf("lower exact, which is %d, or move it to a view of its own", f.Exact)
	case f.Aggregate == "last_n":
		return fmt.Sprintf("lower n, which is %d, or move it to a view of its own", f.N)
	case len(f.Windows) > 0:
		return "give its windows longer hops, leave out windows, or move it to a view of its own"
	default:
		field := source.Fields[source.Field(f.Field)]
		return fmt.Sprintf("move it, a %s, to a view of its own", field.Type)
	}
}

func (c *checker) featurePlace(view string, feature int) place {
	for i := range c.views {
		if c.views[i].Name.value == view && feature < len(c.views[i].Features) {
			return c.views[i].Features[feature].Name.place
		}
	}
	return place{}
}
