// Package cache keeps what Onehop downloads or builds once: server binaries, jars, container images, shared libraries.
// Entries appear whole or not at all, and processes that want the same entry at the same time wait for one another. The
// package knows nothing of what it keeps; it imports the standard library only.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the directory of all entries: the environment variable ONEHOP_CACHE, else "onehop" in the user's cache
// directory. It is absolute and exists when Dir returns without error.
func Dir() (string, error) {
	dir := os.Getenv("ONEHOP_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache directory: %w; set ONEHOP_CACHE to a directory that can be written", err)
		}
		dir = filepath.Join(base, "onehop")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("make ONEHOP_CACHE absolute: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache directory: %w; set ONEHOP_CACHE to a directory that can be written", err)
	}
	return dir, nil
}

// Install returns the path of the entry called name in Dir, filling it first if it isn't there; see InstallIn.
func Install(ctx context.Context, name string, fill func(ctx context.Context, tmpDir string) error) (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	return InstallIn(ctx, dir, name, fill)
}

// InstallIn returns dir/name, a directory. If it doesn't exist, fill is called with an empty directory beside it, and what
// fill left there becomes the entry, all at once; when fill fails, nothing is kept and its error is returned. Of all
// processes and goroutines that ask for the same entry one fills and the others wait for it, until ctx ends. The name may
// contain slashes; it should carry the version of what is installed, for an entry is never filled twice.
func InstallIn(
	ctx context.Context, dir, name string, fill func(ctx context.Context, tmpDir string) error,
) (string, error) {
	if !filepath.IsLocal(name) || name == "." {
		return "", fmt.Errorf("cache entry %q: the name must stay inside the cache directory", name)
	}
	path := filepath.Join(dir, name)
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", name, err)
	}
	unlock, err := Lock(ctx, path+".lock")
	if err != nil {
		return "", fmt.Errorf("cache entry %s: %w", name, err)
	}
	defer unlock()
	if exists(path) { // Filled while we waited.
		return path, nil
	}
	if err := install(ctx, path, fill); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", name, err)
	}
	return path, nil
}

// install is called under the entry's lock.
func install(ctx context.Context, path string, fill func(context.Context, string) error) (err error) {
	partial := path + ".partial"
	// Left behind by a process that died: nobody else can be filling it.
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := fill(ctx, partial); err != nil {
		return err
	}
	return os.Rename(partial, path)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
