package definition

import (
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
)

func entityDetails(before, after *featurestore.Entity) []string {
	var d details
	d.list("join key", joinKeys(before), joinKeys(after))
	return d
}

func joinKeys(e *featurestore.Entity) (list [][2]string) {
	for _, k := range e.Keys {
		list = append(list, [2]string{k.Name, k.Type.String()})
	}
	return list
}

func sourceDetails(before, after *featurestore.Source) []string {
	var d details
	d.value("topic", before.Topic, after.Topic)
	d.value("batch", before.Batch.String(), after.Batch.String())
	d.value("format", before.Format, after.Format)
	d.value("message", before.Message, after.Message)
	d.value("descriptor_set", descriptorSet(before), descriptorSet(after))
	d.value("event_time", eventTime(before), eventTime(after))
	d.value("explode", before.Explode, after.Explode)
	d.value("tombstone", tombstone(before), tombstone(after))
	d.value("retention", retention(before), retention(after))
	if before.Name == "" {
		d.value("max_age", "", bound(after.MaxAge))
		d.value("max_skew", "", bound(after.MaxSkew))
	} else {
		d.value("max_age", bound(before.MaxAge), bound(after.MaxAge))
		d.value("max_skew", bound(before.MaxSkew), bound(after.MaxSkew))
	}
	d.list("field", fieldList(before.Fields), fieldList(after.Fields))
	return d
}

// bound is a duration of which zero is one.
func bound(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	return featurestore.FormatDuration(d)
}

// descriptorSet says which descriptor set it is: one may differ from another though the
// message is the same.
func descriptorSet(s *featurestore.Source) string {
	if len(s.DescriptorSet) == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes, %016x", len(s.DescriptorSet), xxhash.Sum64(s.DescriptorSet))
}

func retention(s *featurestore.Source) string {
	if s.Retention == 0 {
		return ""
	}
	return featurestore.FormatDuration(s.Retention)
}

func tombstone(s *featurestore.Source) string {
	if s.Deletes {
		return "delete"
	}
	return ""
}

func eventTime(s *featurestore.Source) string {
	switch {
	case s.TimeRecord:
		return "the record's timestamp"
	case s.TimeName() == "":
		return ""
	case s.TimeUnit == "":
		return s.TimeName()
	default:
		return fmt.Sprintf("%s in %s", s.TimeName(), s.TimeUnit)
	}
}

func fieldList(fields []featurestore.Field) (list [][2]string) {
	for _, f := range fields {
		words := f.Type.String()
		switch {
		case f.Key:
			words += ", the record's key"
		case f.Header != "":
			words += fmt.Sprintf(", header %q", f.Header)
		case f.Path != "":
			words += " at " + f.Path
		}
		if f.Required {
			words += ", required"
		}
		if f.Default != nil {
			words += ", default " + f.Default.String()
		}
		if f.KeyBytes > 0 {
			words += fmt.Sprintf(", in a key: at most %d bytes", f.KeyBytes)
		}
		if f.MaxBytes > 0 {
			words += fmt.Sprintf(", max_bytes %d", f.MaxBytes)
		}
		if f.MaxElements > 0 {
			words += fmt.Sprintf(", max_elements %d", f.MaxElements)
		}
		list = append(list, [2]string{f.Name, words})
	}
	return list
}

func viewDetails(before, after *featurestore.View) []string {
	var d details
	d.value("entity", before.Entity, after.Entity)
	d.value("source", before.Source, after.Source)
	d.value("join_keys", joinAnd(before.JoinFields), joinAnd(after.JoinFields))
	d.value("ttl", age(before.TTL), age(after.TTL))
	d.value("near_cache", age(before.NearCache), age(after.NearCache))
	d.value("dedupe", dedupeText(before.Dedupe), dedupeText(after.Dedupe))
	d.list("feature", featureList(before), featureList(after))
	for _, f := range after.Features {
		for _, old := range before.Features {
			if old.Name == f.Name {
				d.value("description of "+f.Name, quoted(old.Description), quoted(f.Description))
			}
		}
	}
	return d
}

func dedupeText(d featurestore.Dedupe) string {
	if d.Field == "" {
		return ""
	}
	return fmt.Sprintf("by %s, last %d", d.Field, d.Last)
}

func featureList(v *featurestore.View) (list [][2]string) {
	for i := range v.Features {
		list = append(list, [2]string{v.Features[i].Name, describe(&v.Features[i])})
	}
	return list
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func onDemandDetails(before, after *featurestore.OnDemand) []string {
	var d details
	d.list("request field", fieldTypes(before.Request), fieldTypes(after.Request))
	d.list("feature", expressionList(before), expressionList(after))
	for i := range after.Features {
		f := &after.Features[i]
		if old := before.Feature(f.Name); old != nil {
			d.value("description of "+f.Name, quoted(old.Description), quoted(f.Description))
		}
	}
	return d
}

func expressionList(o *featurestore.OnDemand) (list [][2]string) {
	for i := range o.Features {
		f := &o.Features[i]
		list = append(list, [2]string{f.Name, f.Type.String() + ": " + f.Expression})
	}
	return list
}

func serviceDetails(before, after *featurestore.Service) []string {
	var d details
	d.list("feature", columnList(before), columnList(after))
	d.value("log", logText(before.Log), logText(after.Log))
	return d
}

func logText(l featurestore.Log) string {
	if l.Sample == 0 {
		return ""
	}
	return fmt.Sprintf("%g of the requests, kept for %s", l.Sample, featurestore.FormatDuration(l.Retention))
}

func columnList(s *featurestore.Service) (list [][2]string) {
	for _, c := range s.Columns {
		list = append(list, [2]string{c.String(), ""})
	}
	return list
}

func modelDetails(before, after *featurestore.Model) []string {
	var d details
	d.value("service", before.Service, after.Service)
	d.value("candidates", before.Candidates, after.Candidates)
	d.list("request field", fieldTypes(before.Request), fieldTypes(after.Request))
	d.value("log", logText(before.Log), logText(after.Log))
	return d
}

func fieldTypes(fields []featurestore.Field) (list [][2]string) {
	for _, f := range fields {
		list = append(list, [2]string{f.Name, f.Type.String()})
	}
	return list
}
