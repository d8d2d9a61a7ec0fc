package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/onehop/onehop/inference/traffic"
)

// ServingFile is the name of the file beside the versions of a model that says which of them answer; it may be missing.
const ServingFile = "serving.yaml"

const servingWanted = "want one YAML document with default, aliases, traffic or shadow, all of it optional"

// Serving reads the serving.yaml of a model; without one, or from an empty one, nothing is wanted. The error has the places of all mistakes.
func (r *Repository) Serving(model string) (traffic.Traffic, error) {
	path := filepath.Join(r.dir, model, ServingFile)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return traffic.Traffic{}, fmt.Errorf("model %s: %s is a directory: want a file of that name, or none", model, path)
	}
	text, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return traffic.Traffic{}, nil
		}
		err = fmt.Errorf("%s is a link to a file that is not there", path)
	}
	if err != nil {
		return traffic.Traffic{}, fmt.Errorf("model %s: %w", model, err)
	}
	return ParseServing(path, text)
}

// ParseServing reads a serving.yaml as [Parse] does a model.yaml, but that all of it may be missing.
func ParseServing(file string, text []byte) (traffic.Traffic, error) {
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return traffic.Traffic{}, syntaxMistake(file, err, servingWanted)
	}
	var wanted traffic.Traffic
	if len(tree.Docs) != 1 {
		return wanted, &MistakeError{File: file, Line: 1, Column: 1, Message: servingWanted}
	}
	if body := tree.Docs[0].Body; body == nil || body.Type() == ast.NullType {
		return wanted, nil
	}
	d := &decoder{file: file}
	d.fields(tree.Docs[0].Body, map[string]func(ast.Node){
		"default": func(n ast.Node) {
			wanted.Default = d.scalar(n, "a version: a whole number from 1, an alias or newest")
			d.report(n, traffic.CheckDefault(wanted.Default))
		},
		"aliases": func(n ast.Node) { wanted.Aliases = d.aliases(n) },
		"traffic": func(n ast.Node) { wanted.Split = d.split(n) },
		"shadow":  func(n ast.Node) { wanted.Shadow = d.share(n) },
	})
	if len(d.mistakes) > 0 {
		return traffic.Traffic{}, errors.Join(d.mistakes...)
	}
	return wanted, nil
}

func (d *decoder) report(n ast.Node, err error) {
	if err != nil {
		d.reportf(n, "%v", err)
	}
}

// scalar is the text of a version, a number or a name; want says what is expected there.
func (d *decoder) scalar(n ast.Node, want string) string {
	switch n.Type() {
	case ast.IntegerType, ast.StringType:
		return n.GetToken().Value
	default:
		d.reportf(n, "want %s; not %s", want, n.Type())
		return "1" // one mistake is enough
	}
}

func (d *decoder) version(n ast.Node) string {
	version := d.scalar(n, "a version: a whole number from 1, or an alias")
	d.report(n, traffic.CheckVersion(version))
	return version
}

func (d *decoder) percent(n ast.Node) float64 {
	value := d.number(n)
	if value == nil {
		return 0
	}
	d.report(n, traffic.CheckPercent(*value))
	return *value
}

func (d *decoder) aliases(n ast.Node) map[string]int64 {
	mapping, ok := n.(ast.MapNode)
	if !ok {
		d.reportf(n, "want a mapping of names to versions, not %s", n.Type())
		return nil
	}
	aliases := map[string]int64{}
	for pairs := mapping.MapRange(); pairs.Next(); {
		alias := pairs.Key().GetToken().Value
		d.report(pairs.Key(), traffic.CheckName(alias))
		number, err := strconv.ParseInt(pairs.Value().GetToken().Value, 10, 64)
		if err != nil || number < 1 {
			d.reportf(pairs.Value(), "want the number of a version")
		}
		if _, twice := aliases[alias]; twice {
			d.reportf(pairs.Key(), "alias %q appears twice", alias)
		}
		aliases[alias] = number
	}
	if len(aliases) > traffic.MaxAliases {
		d.reportf(n, "%d aliases: at most %d are allowed", len(aliases), traffic.MaxAliases)
	}
	return aliases
}

func (d *decoder) split(n ast.Node) *traffic.Split {
	split := &traffic.Split{}
	seen := d.fields(n, map[string]func(ast.Node){
		"canary": func(n ast.Node) { split.Canary = d.share(n) },
		"ab":     func(n ast.Node) { split.AB = d.ab(n) },
	})
	if seen["canary"] == seen["ab"] {
		d.reportf(n, "want canary or ab, one of them")
	}
	return split
}

func (d *decoder) share(n ast.Node) *traffic.Share {
	share := &traffic.Share{}
	seen := d.fields(n, map[string]func(ast.Node){
		"version": func(n ast.Node) { share.Version = d.version(n) },
		"percent": func(n ast.Node) { share.Percent = d.percent(n) },
	})
	d.require(n, seen, "version", "percent")
	return share
}

func (d *decoder) ab(n ast.Node) *traffic.AB {
	ab := &traffic.AB{}
	seen := d.fields(n, map[string]func(ast.Node){
		"by": func(n ast.Node) { ab.By = d.name(n) },
		"variants": func(n ast.Node) {
			for _, entry := range d.sequence(n) {
				ab.Variants = append(ab.Variants, d.variant(entry))
			}
			d.report(n, ab.Check())
		},
	})
	d.require(n, seen, "by", "variants")
	return ab
}

func (d *decoder) variant(n ast.Node) traffic.Variant {
	variant := traffic.Variant{}
	seen := d.fields(n, map[string]func(ast.Node){
		"name": func(n ast.Node) {
			variant.Name = d.text(n)
			d.report(n, traffic.CheckName(variant.Name))
		},
		"version": func(n ast.Node) { variant.Version = d.version(n) },
		"percent": func(n ast.Node) { variant.Percent = d.percent(n) },
	})
	d.require(n, seen, "name", "version", "percent")
	return variant
}
