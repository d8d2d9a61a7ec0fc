package definition

import (
	"path/filepath"

	"github.com/onehop/onehop/featurestore"
)

// maxQueryBytes bounds the query of a batch source: it is stored and compared with every
// version.
const maxQueryBytes = 64 << 10

// batch checks whether a source says how its records are written: by its format, or by
// where the rows are of which Onehop writes them itself.
func (c *checker) batch(def *sourceDef, source *featurestore.Source) bool {
	b := &def.Batch
	if def.broken {
		return false
	}
	if !b.given() {
		if !def.Format.given() {
			c.addf(def.place, "\"format\" is missing: how records are written; a batch source says \"batch\" instead")
		}
		return def.Format.given()
	}
	given := 0
	for _, is := range []text{b.Table, b.Query, b.Files} {
		if is.given() {
			given++
		}
	}
	switch {
	case given != 1:
		c.addf(b.place, "a batch source needs exactly one of \"table\", \"query\" and \"files\"; there are %d", given)
		return false
	case len(b.Query.value) > maxQueryBytes:
		c.addf(b.Query.place, "the query has %d bytes; at most %d are allowed: make it a view in Postgres", len(b.Query.value), maxQueryBytes)
		return false
	}
	if _, err := filepath.Match(b.Files.value, ""); err != nil {
		c.addf(b.Files.place, "%q is no pattern of file names: a [ has no ]", b.Files.value)
		return false
	}
	source.Batch = &featurestore.Batch{Table: b.Table.value, Query: b.Query.value, Files: b.Files.value}
	source.Format, source.TimeUnit, source.MaxAge = featurestore.JSON, featurestore.Microseconds, featurestore.BatchMaxAge
	return c.onlyColumns(def)
}

// onlyColumns refuses what a batch source cannot have: its records are Onehop's, and their
// values columns.
func (c *checker) onlyColumns(def *sourceDef) bool {
	ok := true
	refuse := func(at place, key string) {
		if at.given() {
			c.addf(at, "source %q is a batch source, whose values are columns: remove %q", def.Name.value, key)
			ok = false
		}
	}
	refuse(def.Format.place, "format")
	refuse(def.Message.place, "message")
	refuse(def.Descriptors.place, "descriptor_set")
	refuse(def.Explode.place, "explode")
	refuse(def.Tombstone.place, "tombstone")
	refuse(def.EventTime.Path.place, "path")
	refuse(def.EventTime.Record.place, "record")
	refuse(def.EventTime.Unit.place, "unit")
	for i := range def.Fields {
		refuse(def.Fields[i].Path.place, "path")
		refuse(def.Fields[i].Key.place, "key")
		refuse(def.Fields[i].Header.place, "header")
	}
	return ok
}
