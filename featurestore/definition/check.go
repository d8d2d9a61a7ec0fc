package definition

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// checker turns what the files say into a catalog. A noun enters the catalog when
// nothing is wrong with it; names are known as soon as they are read, so that one
// mistake does not make others of all that refer to it.
type checker struct {
	*report
	catalog *featurestore.Catalog

	namespaces []text
	entities   []entityDef
	sources    []sourceDef
	views      []viewDef
	onDemand   []onDemandDef
	services   []serviceDef
	models     []modelDef

	// viewNames are those of views and, as features are called by either, of on-demand groups,
	// which are in groupNames too.
	entityNames, sourceNames, viewNames, groupNames, serviceNames names
}

// add takes the definitions of one document.
func (c *checker) add(d *document) {
	if d.Namespace.given() {
		c.namespaces = append(c.namespaces, d.Namespace)
	}
	c.entities = append(c.entities, d.Entities...)
	c.sources = append(c.sources, d.Sources...)
	c.views = append(c.views, d.Views...)
	c.onDemand = append(c.onDemand, d.OnDemand...)
	c.services = append(c.services, d.Services...)
	c.models = append(c.models, d.Models...)
}

func (c *checker) empty() bool {
	return len(c.entities)+len(c.sources)+len(c.views)+len(c.onDemand)+len(c.services)+len(c.models) == 0
}

func (c *checker) check(namespace string, files []File) {
	c.catalog = &featurestore.Catalog{Namespace: c.namespace(namespace, files)}
	c.entityNames, c.sourceNames, c.viewNames, c.groupNames, c.serviceNames = names{}, names{}, names{}, names{}, names{}
	for i := range c.entities {
		c.entity(&c.entities[i])
	}
	for i := range c.sources {
		c.source(&c.sources[i])
	}
	c.relationNames()
	for i := range c.views {
		c.view(&c.views[i])
	}
	c.tombstones()
	c.retentions()
	c.keyBytes()
	c.keptBytes()
	for i := range c.catalog.Views {
		c.rowSize(&c.catalog.Views[i])
	}
	c.groups()
	for i := range c.services {
		c.service(&c.services[i])
	}
	modelNames := names{}
	for i := range c.models {
		c.model(&c.models[i], modelNames)
	}
	c.servingLog()
}

// namespace is the one namespace that the files name, or the one that holds instead.
func (c *checker) namespace(override string, files []File) string {
	for _, n := range c.namespaces[min(1, len(c.namespaces)):] {
		if n.value != c.namespaces[0].value {
			c.addf(n.place, "the namespace is %q here and %q at %s: one catalog has one", n.value, c.namespaces[0].value, c.namespaces[0].place)
		}
	}
	switch {
	case override != "":
		return override
	case len(c.namespaces) > 0:
		return c.namespaces[0].value
	case len(c.mistakes) == 0 && len(files) > 0:
		c.addf(place{file: files[0].Name}, "no file names the namespace: add, for example, %q", "namespace: movielens")
	}
	return ""
}

// names says where each name of one kind is defined.
type names map[string]place

// define adds a name and reports one that is there already.
func (n names) define(r *report, noun string, name text) bool {
	if !name.given() {
		return false
	}
	if first, twice := n[name.value]; twice {
		r.addf(name.place, "%s %q is defined twice; it is also at %s", noun, name.value, first)
		return false
	}
	n[name.value] = name.place
	return true
}

// refer reports a reference to a name that is not defined; suffix says what to do.
func (n names) refer(r *report, noun string, name text) bool {
	if !name.given() {
		return false
	}
	if _, ok := n[name.value]; !ok {
		r.addf(name.place, "there is no %s %q%s", noun, name.value, hint(name.value, n.all()))
		return false
	}
	return true
}

func (n names) all() []string {
	all := make([]string, 0, len(n))
	for name := range n {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (c *checker) entity(def *entityDef) {
	ok := c.entityNames.define(c.report, "entity", def.Name)
	entity := featurestore.Entity{Name: def.Name.value}
	keys := names{}
	for i := range def.Keys {
		key := &def.Keys[i]
		ok = keys.define(c.report, "join key", key.Name) && ok
		typ, _ := featurestore.ParseType(key.Type.value)
		entity.Keys = append(entity.Keys, featurestore.JoinKey{Name: key.Name.value, Type: typ})
	}
	if ok && !def.broken {
		c.catalog.Entities = append(c.catalog.Entities, entity)
	}
}

// historySuffix is what history appends to a source's name for partitions and indexes.
var historySuffix = regexp.MustCompile(`^(by_.*|brin|[0-9]{4}_[0-9]{2})$`)

// relationNames refuses two sources of which one is called as history would call a
// partition or an index of the other: they share a schema in Postgres.
func (c *checker) relationNames() {
	for i := range c.sources {
		name := c.sources[i].Name
		for _, other := range append(c.sourceNames.all(), featurestore.ServedSource) {
			if suffix, is := strings.CutPrefix(name.value, other+"_"); is && historySuffix.MatchString(suffix) {
				c.addf(name.place, "history needs the name %q for source %q: choose another", name.value, other)
			}
		}
	}
}

// keyBytes bounds the text fields that are part of a key, so that no accepted event
// can have a key that is too long: in a key of several parts escaping may double one.
func (c *checker) keyBytes() {
	for i := range c.catalog.Views {
		view := &c.catalog.Views[i]
		entity, source := c.catalog.Entity(view.Entity), c.catalog.Source(view.Source)
		most := featurestore.MaxKeyBytes
		if n := len(entity.Keys); n > 1 {
			most /= 2 * n
		}
		for k, name := range view.JoinFields {
			if entity.Keys[k].Type == featurestore.Int64 {
				continue
			}
			field := &source.Fields[source.Field(name)]
			if field.KeyBytes == 0 || most < field.KeyBytes {
				field.KeyBytes = most
			}
			if d := field.Default; d != nil && (len(d.Bytes) == 0 || len(d.Bytes) > field.KeyBytes) {
				c.addf(c.sourceNames[source.Name], "field %q of source %q is part of a key of feature view %q, and its default has %d bytes; it must have 1 to %d",
					name, source.Name, view.Name, len(d.Bytes), field.KeyBytes)
			}
		}
	}
}

// keptBytes bounds the texts and lists of which rows keep values, so that no accepted event
// can make a row larger than the definitions allow.
func (c *checker) keptBytes() {
	for i := range c.catalog.Views {
		view := &c.catalog.Views[i]
		source := c.catalog.Source(view.Source)
		for _, f := range view.Features {
			at := source.Field(f.Field)
			if at < 0 || f.Exact == 0 && !slices.Contains(keepers, f.Aggregate) {
				continue
			}
			field := &source.Fields[at]
			if text := field.Type.Elem(); field.KeyBytes == 0 && (text == featurestore.String || text == featurestore.Bytes) {
				field.MaxBytes = cmp.Or(field.MaxBytes, featurestore.KeptBytes)
			}
			if field.Type.IsList() {
				field.MaxElements = cmp.Or(field.MaxElements, featurestore.KeptElements)
			}
		}
	}
}

// keepers are the aggregates of which a row keeps values as they are.
var keepers = []string{"latest", "first", "last_n"}

func firstGiven(places ...place) place {
	for _, p := range places {
		if p.given() {
			return p
		}
	}
	return place{}
}
