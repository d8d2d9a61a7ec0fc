// Package repository reads a directory of models: <name>/<version>/model.onnx with a model.yaml beside it that says what the
// model's columns are, or a model.yaml alone that says where else the model lives. It touches files only: it loads no model, asks no
// server, keeps no goroutine and sees no feature.
package repository

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The names of the two files of a version.
const (
	ModelFile = "model.onnx"
	SpecFile  = "model.yaml"
)

// maxSpecBytes bounds a model.yaml: 4096 columns with defaults take a third of it.
const maxSpecBytes = 1 << 20

// Repository is a directory of models. It is safe for concurrent use.
type Repository struct {
	dir string

	mu      sync.Mutex
	digests map[string]digested // by path, of the files of the last scan
}

// Version is one version of a model as found on disk. Err says what is wrong with it; then it must not be served, and the
// other fields hold what could be learnt.
type Version struct {
	Model     string // the directory's name
	Number    int    // from 1; 0 for a model that has no version, and for a stray directory
	Dir       string // where it lies
	ModelPath string // Dir/model.onnx, which a version that lives elsewhere does not have
	SpecPath  string // Dir/model.yaml
	// SHA256 is the hex digest of model.onnx, as sha256sum prints it, empty for a version that lives elsewhere until it is loaded;
	// SpecSHA256 that of model.yaml. A version whose digests changed is another model under the same number.
	SHA256, SpecSHA256 string
	Spec               *Spec
	// Stray says that this is no version at all, but a directory beside a model's versions whose name, as Err says, is no number.
	Stray bool
	Err   error
}

// Open returns the repository at dir, which must be a directory.
func Open(dir string) (*Repository, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open model repository: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open model repository: %s is not a directory", dir)
	}
	return &Repository{dir: dir, digests: map[string]digested{}}, nil
}

// Dir is the directory that was opened.
func (r *Repository) Dir() string { return r.dir }

// Scan lists all versions by model name and number, bad ones and stray directories with their error among them, and a model without
// any version as one that is bad. It reads a model file, for its
// digest, when it is new or has changed. Files and hidden directories beside the models are passed over. The error is about the directory itself.
func (r *Repository) Scan() ([]Version, error) {
	models, err := directories(r.dir)
	if err != nil {
		return nil, fmt.Errorf("scan model repository: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.digests
	r.digests = make(map[string]digested, len(before))
	var versions []Version
	for _, model := range models {
		versions = append(versions, r.versions(model, before)...)
	}
	slices.SortStableFunc(versions, func(a, b Version) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Number, b.Number))
	})
	return versions, nil
}

// versions lists the versions of a model, and the stray directories beside them.
func (r *Repository) versions(model string, before map[string]digested) []Version {
	dir := filepath.Join(r.dir, model)
	names, err := directories(dir)
	var versions, strays []Version
	var notNumbers []error
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil && number > 0 && strconv.Itoa(number) == name {
			versions = append(versions, r.read(model, number, before))
			continue
		}
		if name == ServingFile {
			continue // of which Serving says that it should be a file
		}
		stray := Version{Model: model, Dir: filepath.Join(dir, name), Stray: true, Err: fmt.Errorf("directory %q is no version: want a whole number from 1", name)}
		strays, notNumbers = append(strays, stray), append(notNumbers, stray.Err)
	}
	if err == nil && len(versions) == 0 {
		err = errors.Join(append([]error{fmt.Errorf("it has no version; put one in %s", filepath.Join(dir, "1"))}, notNumbers...)...)
	}
	if err != nil {
		return []Version{{Model: model, Dir: dir, Err: fmt.Errorf("model %s: %w", model, err)}}
	}
	return append(strays, versions...)
}

func (r *Repository) read(model string, number int, before map[string]digested) Version {
	dir := filepath.Join(r.dir, model, strconv.Itoa(number))
	v := Version{
		Model: model, Number: number, Dir: dir,
		ModelPath: filepath.Join(dir, ModelFile), SpecPath: filepath.Join(dir, SpecFile),
	}
	sum, err := r.digest(v.ModelPath, before[v.ModelPath])
	v.SHA256 = sum
	if err := v.read(err); err != nil {
		v.Err = fmt.Errorf("model %s version %d: %w", model, number, err)
	}
	return v
}

// read reads what is beside the model; unread is why the model itself cannot be read.
func (v *Version) read(unread error) error {
	var errs []error
	if !namePattern.MatchString(v.Model) {
		errs = append(errs, fmt.Errorf("directory %q is no model name: want lower-case letters, digits and underscores", v.Model))
	}
	remote, specErr := v.readSpec()
	switch {
	case remote && unread == nil:
		errs = append(errs, fmt.Errorf("%s: it says that the model lives elsewhere, but there is a %s too: remove one of them", v.SpecPath, ModelFile))
	case remote && errors.Is(unread, fs.ErrNotExist):
	case unread != nil:
		errs = append(errs, unread)
	}
	return errors.Join(append(errs, specErr)...)
}

// readSpec reads model.yaml and says whether the model lives elsewhere.
func (v *Version) readSpec() (remote bool, err error) {
	text, err := readBounded(v.SpecPath)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(text)
	v.SpecSHA256 = hex.EncodeToString(sum[:])
	spec, err := Parse(v.SpecPath, text)
	remote = spec != nil && spec.Remote != nil
	if err != nil {
		return remote, err
	}
	v.Spec = spec
	if spec.Model != v.Model {
		return remote, spec.modelAt.mistakef("it says model %q, but lies in the directory of %q", spec.Model, v.Model)
	}
	return remote, nil
}

func readBounded(path string) (text []byte, err error) {
	file, _, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, maxSpecBytes+1))
	if err == nil && len(text) > maxSpecBytes {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxSpecBytes)
	}
	return text, err
}

// directories lists the names of the directories in dir, following symbolic links, without hidden ones.
func directories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since, or a link to nowhere
		}
		if err != nil || info.IsDir() { // what is wrong with it is told where it is read
			found = append(found, entry.Name())
		}
	}
	return found, nil
}
