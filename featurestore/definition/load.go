package definition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/featurestore"
)

// File is the text of a definition file.
type File struct {
	// Name stands for the file in mistakes.
	Name string
	Text []byte
}

// Options change how definitions are read. The zero value is ready to use.
type Options struct {
	// Namespace, if set, holds instead of what the files say; they need not name one
	// then.
	Namespace string
}

// Load reads definition files, and all *.yaml and *.yml files below directories, and
// checks them as one catalog. Files and directories whose name starts with a dot are
// left out of directories. What is wrong in the files is an [*Errors].
func Load(paths ...string) (*featurestore.Catalog, error) { return Options{}.Load(paths...) }

// Parse checks definitions that are in memory as one catalog. What is wrong in them is
// an [*Errors].
func Parse(files []File) (*featurestore.Catalog, error) { return Options{}.Parse(files) }

// Load is [Load] with options.
func (o Options) Load(paths ...string) (*featurestore.Catalog, error) {
	var names []string
	for _, path := range paths {
		found, err := filesIn(path)
		if err != nil {
			return nil, fmt.Errorf("reading definitions: %w", err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("reading definitions: %s has no *.yaml or *.yml file", path)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	var files []File
	for _, name := range slices.Compact(names) {
		text, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading definitions: %w", err)
		}
		files = append(files, File{Name: name, Text: text})
	}
	return o.Parse(files)
}

// filesIn lists a file itself, or the definition files below a directory.
func filesIn(path string) (names []string, err error) {
	err = filepath.WalkDir(filepath.Clean(path), func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == filepath.Clean(path) && !entry.IsDir():
			names = append(names, name)
			return nil
		case name != filepath.Clean(path) && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if extension := filepath.Ext(name); extension == ".yaml" || extension == ".yml" {
			if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() { // a link counts as what it leads to
				names = append(names, name)
			}
		}
		return nil
	})
	return names, err
}

// readFile reads a byte more than is allowed at most, so that the parser can tell.
func readFile(name string) (text []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// Parse is [Parse] with options.
func (o Options) Parse(files []File) (*featurestore.Catalog, error) {
	r := &report{}
	if o.Namespace != "" && !forms["namespace"].match.MatchString(o.Namespace) {
		return nil, fmt.Errorf("the namespace %q is not %s", o.Namespace, forms["namespace"].want)
	}
	c := &checker{report: r}
	for _, file := range files {
		tree := parseYAML(file, r)
		if tree == nil {
			continue
		}
		for _, doc := range tree.Docs {
			if doc.Body == nil || doc.Body.Type() == ast.NullType {
				continue // nothing, or comments only
			}
			d := &decoder{report: r, file: file.Name}
			def := &document{}
			d.decode(reflect.ValueOf(def).Elem(), doc.Body, &rule{key: "the document"})
			c.add(def)
		}
	}
	if len(r.mistakes) == 0 && c.empty() {
		return nil, errors.New("the definition files define nothing: write entities, sources and views")
	}
	c.check(o.Namespace, files)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c.catalog, nil
}
