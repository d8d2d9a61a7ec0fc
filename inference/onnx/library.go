package onnx

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/onehop/onehop/internal/cache"
	"github.com/onehop/onehop/internal/wheel"
)

// LibraryVersion is the release of ONNX Runtime that [Fetch] installs. Any release from 1.24 on can be used.
const LibraryVersion = "1.30.0"

// ErrNoLibrary is wrapped by [FindLibrary]'s error when the shared library is nowhere to be found.
var ErrNoLibrary = errors.New("ONNX Runtime's shared library was not found")

const cacheEntry = "onnxruntime-" + LibraryVersion

// FindLibrary returns the path of ONNX Runtime's shared library: the configured path if it isn't empty (then it must exist),
// else the first found in the system's library directories, else what [Fetch] left in the cache. Its error wraps
// [ErrNoLibrary] and says what to run.
func FindLibrary(configured string) (string, error) {
	if configured != "" {
		if _, err := os.Stat(configured); err != nil {
			return "", fmt.Errorf("configured library %s: %w: %w", configured, ErrNoLibrary, err)
		}
		return configured, nil
	}
	directories := systemDirectories()
	if dir, err := cache.Dir(); err == nil {
		directories = append(directories, filepath.Join(dir, cacheEntry))
	}
	for _, dir := range directories {
		for _, name := range libraryNames() {
			candidate := filepath.Join(dir, name)
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
				return candidate, nil
			}
		}
	}
	return "", fmt.Errorf("%w (looked in %s): run 'make setup' or 'onehop setup' to install release %s, or configure its path",
		ErrNoLibrary, strings.Join(directories, ", "), LibraryVersion)
}

func libraryNames() []string {
	if runtime.GOOS == "darwin" {
		return []string{"libonnxruntime.dylib"}
	}
	return []string{"libonnxruntime.so", "libonnxruntime.so.1"}
}

// systemDirectories are where distributions and administrators put libraries: those the dynamic linker searches by default.
func systemDirectories() []string {
	if runtime.GOOS == "darwin" {
		return []string{"/usr/local/lib", "/opt/homebrew/lib"}
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return []string{"/usr/local/lib", "/usr/local/lib/" + triplet, "/usr/lib", "/usr/lib/" + triplet, "/usr/lib64", "/lib64"}
}

// Fetch installs release [LibraryVersion] into the cache, unless it is there already, and returns the library's path. It uses
// the machine's own package clients: pip (a wheel of some 22 MB), else npm (113 MB). report, which may be nil, is told what
// is being done, one line at a time.
func Fetch(ctx context.Context, report func(string)) (string, error) {
	if report == nil {
		report = func(string) {}
	}
	dir, err := cache.Install(ctx, cacheEntry, func(ctx context.Context, dir string) error {
		report("fetching onnxruntime " + LibraryVersion + " with pip (22 MB)")
		pipErr := fetchWheel(ctx, dir)
		if pipErr == nil || ctx.Err() != nil {
			return pipErr
		}
		report("pip could not deliver; fetching onnxruntime-node " + LibraryVersion + " with npm (113 MB)")
		npmErr := fetchNpm(ctx, dir)
		if npmErr == nil {
			return nil
		}
		return fmt.Errorf("neither pip nor npm delivered ONNX Runtime %s: %w; install its shared library and configure its path",
			LibraryVersion, errors.Join(pipErr, npmErr))
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, libraryNames()[0]), nil
}

func fetchWheel(ctx context.Context, dir string) error {
	platforms := map[string][]string{
		"linux/amd64":  {"manylinux_2_28_x86_64"},
		"linux/arm64":  {"manylinux_2_28_aarch64"},
		"darwin/arm64": {"macosx_14_0_arm64"},
	}[runtime.GOOS+"/"+runtime.GOARCH]
	if platforms == nil {
		return fmt.Errorf("%w: no wheel for %s/%s", wheel.ErrUnavailable, runtime.GOOS, runtime.GOARCH)
	}
	file, err := wheel.Download(ctx, dir, "onnxruntime=="+LibraryVersion, platforms...)
	if err != nil {
		return err
	}
	count, err := wheel.Extract(file, dir, func(member string) string {
		// libonnxruntime.so.1.30.0 or libonnxruntime.1.30.0.dylib, not libonnxruntime_providers_shared.so.
		if matched, _ := path.Match("onnxruntime/capi/libonnxruntime.*", member); matched {
			return libraryNames()[0]
		}
		return ""
	})
	if err == nil && count != 1 {
		err = fmt.Errorf("wheel %s holds %d libraries, want one", filepath.Base(file), count)
	}
	return errors.Join(err, os.Remove(file))
}

func fetchNpm(ctx context.Context, dir string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, npm, "pack", "--silent", "onnxruntime-node@"+LibraryVersion)
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("npm pack: %w: %.300s", err, output)
	}
	name := filepath.Join(dir, "onnxruntime-node-"+LibraryVersion+".tgz")
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	pattern := fmt.Sprintf("package/bin/napi-v6/%s/%s/libonnxruntime.*", runtime.GOOS, arch)
	err = extractTgz(file, pattern, filepath.Join(dir, libraryNames()[0]))
	return errors.Join(err, file.Close(), os.Remove(name))
}

// extractTgz writes the first regular member whose name matches pattern to target.
func extractTgz(from io.Reader, pattern, target string) error {
	unzipped, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	members := tar.NewReader(unzipped)
	for {
		header, err := members.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the archive has no file %s", pattern)
		}
		if err != nil {
			return err
		}
		if matched, _ := path.Match(pattern, header.Name); matched && header.Typeflag == tar.TypeReg {
			return wheel.WriteFile(target, members)
		}
	}
}
