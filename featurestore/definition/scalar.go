package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/featurestore"
)

// scalar is a value that is read as a whole and remembers its place. Its zero value
// was not given, or was wrong and is reported.
type scalar interface {
	decode(d *decoder, n ast.Node, r *rule)
	schema(r *rule) *schema
}

// text is a string.
type text struct {
	place
	value string
}

func (t *text) decode(d *decoder, n ast.Node, r *rule) {
	value, ok := d.textOf(n, r.key)
	switch {
	case !ok:
		return
	case r.form != nil && !r.form.match.MatchString(value):
		d.addf(d.at(n), "%q is not %s", shorten(value), r.form.want)
		return
	case r.choice != nil && !slices.Contains(r.choice, value):
		d.addf(d.at(n), "unknown %s %q%s", r.key, shorten(value), choiceHint(value, r.choice))
		return
	}
	t.place, t.value = d.at(n), value
}

func choiceHint(value string, choice []string) string {
	if near := nearest(value, choice); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; there " + available(choice)
}

func available(names []string) string {
	if len(names) == 1 {
		return "is " + names[0]
	}
	return "are " + joinAnd(names)
}

func (d *decoder) textOf(n ast.Node, key string) (string, bool) {
	var value string
	switch n := n.(type) {
	case *ast.StringNode:
		value = n.Value
	case *ast.LiteralNode:
		value = strings.TrimSpace(n.Value.Value) // a block ends with a newline
	default:
		remedy := ""
		if _, ok := n.(ast.ScalarNode); ok {
			remedy = ": put it in quotes"
		}
		d.addf(d.at(n), "%q must be text, not %s%s", key, kindOf(n), remedy)
		return "", false
	}
	if value == "" {
		d.addf(d.at(n), "%q is empty", key)
	}
	return value, value != ""
}

// integer is a whole number.
type integer struct {
	place
	value int
}

func (i *integer) decode(d *decoder, n ast.Node, r *rule) {
	least, _ := strconv.Atoi(r.min)
	most, _ := strconv.Atoi(r.max)
	value, err := strconv.Atoi(n.GetToken().Value)
	switch {
	case n.Type() != ast.IntegerType || err != nil:
		d.addf(d.at(n), "%q must be a whole number, not %s", r.key, kindOf(n))
	case value < least || value > most:
		d.addf(d.at(n), "%q must be between %d and %d; it is %d", r.key, least, most, value)
	default:
		i.place, i.value = d.at(n), value
	}
}

// number is a number between its bounds, which are whole and do not belong to it.
type number struct {
	place
	value float64
}

func (v *number) decode(d *decoder, n ast.Node, r *rule) {
	least, _ := strconv.ParseFloat(r.min, 64)
	most, _ := strconv.ParseFloat(r.max, 64)
	value, err := strconv.ParseFloat(n.GetToken().Value, 64)
	switch {
	case n.Type() != ast.IntegerType && n.Type() != ast.FloatType || err != nil:
		d.addf(d.at(n), "%q must be a number, not %s", r.key, kindOf(n))
	case value <= least || value >= most:
		d.addf(d.at(n), "%q must be more than %s and less than %s; it is %s", r.key, r.min, r.max, n.GetToken().Value)
	default:
		v.place, v.value = d.at(n), value
	}
}

// share is a part of a whole: more than 0 and at most 1.
type share struct{ number }

func (s *share) decode(d *decoder, n ast.Node, r *rule) {
	value, err := strconv.ParseFloat(n.GetToken().Value, 64)
	switch {
	case n.Type() != ast.IntegerType && n.Type() != ast.FloatType || err != nil:
		d.addf(d.at(n), "%q must be a number, not %s", r.key, kindOf(n))
	case value <= 0 || value > 1: // which NaN is not written as
		d.addf(d.at(n), "%q must be more than 0 and at most 1; it is %s", r.key, n.GetToken().Value)
	default:
		s.place, s.value = d.at(n), value
	}
}

// boolean is true or false.
type boolean struct {
	place
	value bool
}

func (b *boolean) decode(d *decoder, n ast.Node, r *rule) {
	v, ok := n.(*ast.BoolNode)
	if !ok {
		d.addf(d.at(n), "%q must be true or false, not %s", r.key, kindOf(n))
		return
	}
	b.place, b.value = d.at(n), v.Value
}

// duration is a length of time such as 30d or 1h30m.
type duration struct {
	place
	value time.Duration
}

func (v *duration) decode(d *decoder, n ast.Node, r *rule) {
	written, isText := n.(*ast.StringNode)
	if !isText {
		d.addf(d.at(n), "%q must be a duration such as 30d, 12h, 90s or 1h30m, not %s", r.key, kindOf(n))
		return
	}
	value, ok := parseDuration(written.Value)
	least, _ := parseDuration(r.min)
	most, _ := parseDuration(r.max)
	switch {
	case !ok:
		d.addf(d.at(n), "%q is not a duration; write 30d, 12h, 90s or 1h30m", shorten(written.Value))
	case value < least || value > most:
		d.addf(d.at(n), "%q must be between %s and %s; it is %s", r.key, r.min, r.max, written.Value)
	default:
		v.place, v.value = d.at(n), value
	}
}

// windowLength is a duration or "lifetime", which is [featurestore.Lifetime].
type windowLength struct{ duration }

const lifetime = "lifetime"

func (w *windowLength) decode(d *decoder, n ast.Node, r *rule) {
	s, ok := n.(*ast.StringNode)
	switch {
	case ok && s.Value == lifetime:
		w.place, w.value = d.at(n), featurestore.Lifetime
	case ok && nearest(s.Value, []string{lifetime}) != "":
		d.addf(d.at(n), "%q is not a duration; did you mean %q?", s.Value, lifetime)
	default:
		w.duration.decode(d, n, r)
	}
}

// pairs is a mapping from text to text, in the file's order.
type pairs struct {
	list []pair
}

type pair struct{ key, value text }

func (p *pairs) decode(d *decoder, n ast.Node, r *rule) {
	node, ok := n.(ast.MapNode)
	if !ok {
		d.addf(d.at(n), "%q must be a mapping from join keys to fields, not %s", r.key, kindOf(n))
		return
	}
	seen := map[string]place{}
	for entries := node.MapRange(); entries.Next(); {
		name, at, ok := d.key(entries.Key(), seen)
		if !ok {
			continue
		}
		value, ok := d.plain(entries.Value(), name)
		if !ok {
			continue
		}
		entry := pair{key: text{place: at, value: name}}
		entry.value.decode(d, value, &rule{key: name})
		if entry.value.given() {
			p.list = append(p.list, entry)
		}
	}
}

var durationUnits = []struct {
	name string
	unit time.Duration
}{{"ms", time.Millisecond}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

const durationPattern = `^([0-9]{1,9}(d|h|ms|m|s))+$`

// parseDuration reads whole numbers, each with a unit: 1d12h, 90s, 250ms.
func parseDuration(s string) (total time.Duration, ok bool) {
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits > 9 {
			return 0, false
		}
		number, _ := strconv.Atoi(rest[:digits])
		rest = rest[digits:]
		found := false
		for _, u := range durationUnits {
			if after, is := strings.CutPrefix(rest, u.name); is {
				if time.Duration(number) > (1<<62-total)/u.unit {
					return 0, false
				}
				total, rest, found = total+time.Duration(number)*u.unit, after, true
				break
			}
		}
		if !found {
			return 0, false
		}
	}
	return total, s != ""
}

// shorten keeps a wrong value from filling the screen.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func joinAnd(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
