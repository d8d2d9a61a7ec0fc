package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/online"
)

// inspectCommand shows what is stored of an entity.
type inspectCommand struct {
	Entity        string   `arg:"" help:"Name of the entity, for example user."`
	Key           []string `arg:"" help:"Its key: one argument for each join key, in declared order. Bytes are written as base64:…"`
	View          []string `sep:"," placeholder:"NAME" help:"These views only."`
	Namespace     string   `env:"ONEHOP_NAMESPACE" default:"default" help:"Namespace of the definitions."`
	postgresFlags `embed:""`
	redisFlags    `embed:""`
	Tiles         bool `help:"Show every tile."`
	JSON          bool `name:"json" help:"Print JSON; it has every tile."`
}

// Help is printed by --help.
func (*inspectCommand) Help() string {
	return "For each view of the entity: the values as of now, what the row keeps, and where its bucket stands.\n\n" +
		"Example:\n\n    onehop inspect user 196 --namespace movielens --redis redis://127.0.0.1:6379/0 --postgres postgres://127.0.0.1/onehop"
}

// Check returns everything that is wrong with the flags.
func (c *inspectCommand) Check() error {
	return errors.Join(c.postgresFlags.Check(), c.redisFlags.Check())
}

// Run inspects.
func (c *inspectCommand) Run(ctx context.Context, s Streams) (err error) {
	pool, catalog, err := c.definitions(ctx, c.Namespace)
	if err != nil {
		return err
	}
	defer pool.Close()
	entity, key, err := c.entity(catalog)
	if err != nil {
		return err
	}
	client, store, err := c.redisFlags.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	out := inspection{
		Namespace: catalog.Namespace, Version: catalog.Version, Entity: entity.Name,
		Key: featurestore.KeyText(key), Bucket: featurestore.Bucket(key),
	}
	views, err := c.views(catalog)
	if err != nil {
		return err
	}
	for _, view := range views {
		shown, err := inspectView(ctx, store, catalog, view, key, time.Now().UnixMicro())
		if err != nil {
			return err
		}
		out.Views = append(out.Views, *shown)
	}
	if c.JSON {
		return writeJSON(s.Out, out)
	}
	out.write(s.Out, c.Tiles)
	return nil
}

// entity finds the entity and encodes the key.
func (c *inspectCommand) entity(catalog *featurestore.Catalog) (*featurestore.Entity, []byte, error) {
	entity := catalog.Entity(c.Entity)
	if entity == nil {
		var names []string
		for _, e := range catalog.Entities {
			names = append(names, e.Name)
		}
		return nil, nil, fmt.Errorf("namespace %s has no entity %q; it has %s", catalog.Namespace, c.Entity, strings.Join(names, ", "))
	}
	values, err := keyValues(entity, c.Key)
	if err != nil {
		return nil, nil, err
	}
	key, err := entity.AppendKey(nil, values)
	if err != nil {
		return nil, nil, fmt.Errorf("entity %q: %w", entity.Name, err)
	}
	return entity, key, nil
}

// keyValues reads the parts of a key as their join keys are typed.
func keyValues(entity *featurestore.Entity, parts []string) ([]featurestore.Value, error) {
	if len(parts) != len(entity.Keys) {
		var names []string
		for _, key := range entity.Keys {
			names = append(names, key.Name)
		}
		return nil, fmt.Errorf("entity %q has the join keys %s: give %d arguments, not %d", entity.Name,
			strings.Join(names, ", "), len(names), len(parts))
	}
	values := make([]featurestore.Value, len(parts))
	for i, key := range entity.Keys {
		text, encoded := strings.CutPrefix(parts[i], "base64:")
		switch {
		case key.Type == featurestore.Int64:
			n, err := strconv.ParseInt(parts[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("join key %q is an int64; %q is not", key.Name, parts[i])
			}
			values[i] = featurestore.IntValue(n)
		case key.Type == featurestore.Bytes && encoded:
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("join key %q: what follows base64: is not base64", key.Name)
			}
			values[i] = featurestore.BytesValue(raw)
		default:
			values[i] = featurestore.Value{Type: key.Type, Bytes: []byte(parts[i])}
		}
	}
	return values, nil
}

// views lists the views to show.
func (c *inspectCommand) views(catalog *featurestore.Catalog) ([]*featurestore.View, error) {
	var views []*featurestore.View
	for _, name := range c.View {
		view := catalog.View(name)
		if view == nil || view.Entity != c.Entity {
			return nil, fmt.Errorf("--view: entity %q has no view %q", c.Entity, name)
		}
		views = append(views, view)
	}
	if len(views) > 0 {
		return views, nil
	}
	for i := range catalog.Views {
		if catalog.Views[i].Entity == c.Entity {
			views = append(views, &catalog.Views[i])
		}
	}
	if len(views) == 0 {
		return nil, fmt.Errorf("no view describes entity %q", c.Entity)
	}
	return views, nil
}

// inspectView reads the row of one view and decodes it. A row that cannot be decoded is
// worth showing, with what else there is.
func inspectView(ctx context.Context, store *online.Store, catalog *featurestore.Catalog, view *featurestore.View, key []byte, now int64) (*viewInspection, error) {
	program, err := fold.Compile(view, catalog.Source(view.Source))
	if err != nil {
		return nil, fmt.Errorf("the stored definitions: %w", err)
	}
	stored, err := store.Inspect(ctx, online.NewView(catalog.Namespace, view), key)
	if err != nil {
		return nil, fmt.Errorf("view %q: %w", view.Name, err)
	}
	out := newViewInspection(view, stored)
	if err := out.decode(program, view.Columns(), stored.Row, now); err != nil {
		out.Problem = err.Error()
	}
	return out, nil
}

// decode fills in what a row holds, nil for none, and what is served of it.
func (v *viewInspection) decode(program *fold.Program, columns []featurestore.Column, row []byte, now int64) error {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].Name
	}
	reader, err := program.Reader(names)
	if err != nil {
		return err
	}
	if row != nil {
		decoded, err := program.Inspect(row)
		if err != nil {
			return err
		}
		v.setDecoded(decoded)
	}
	at := fold.ReadTime(now, reader.Newest(row))
	cells := make([]featurestore.Cell, len(names))
	if err := reader.Read(row, at, cells); err != nil {
		return err
	}
	v.ReadTime = featurestore.FormatTime(at)
	for i := range cells {
		v.Values = append(v.Values, newValueInspection(names[i], &cells[i]))
	}
	return nil
}
