// Package onnx runs ONNX models in this process with ONNX Runtime. It owns the shared library (where it is, how it is
// fetched), sessions, and the memory that tensors live in; it knows nothing of features, repositories or requests.
//
// A caller opens a [Runtime], loads a [Session] per model, and keeps a pool of [Batch]es per session. A run copies nothing and
// allocates nothing: inputs are written straight into the batch, and scores are read straight out of it.
package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// ErrClosed is returned by a runtime, session or batch that was closed.
var ErrClosed = errors.New("closed")

// environment is what ONNX Runtime allows one of per process.
var environment struct {
	sync.Mutex
	library  string // as loaded
	users    int    // open Runtimes
	sessions int    // open Sessions of all of them
}

// Runtime is a reference to the process's ONNX Runtime environment. It is safe for concurrent use.
type Runtime struct {
	library string

	mu     sync.Mutex
	closed bool
}

// Open loads the shared library at libraryPath ([FindLibrary] finds it) and starts the environment, or takes another reference
// to it when it runs already. A process can use one library only: opening another one while the first is open is an error.
func Open(libraryPath string) (*Runtime, error) {
	resolved, err := filepath.EvalSymlinks(libraryPath)
	if err != nil {
		return nil, fmt.Errorf("open ONNX Runtime: %w: %w", ErrNoLibrary, err)
	}
	environment.Lock()
	defer environment.Unlock()
	if environment.users > 0 && environment.library != resolved {
		return nil, fmt.Errorf("open ONNX Runtime %s: this process runs %s already; use that one", resolved, environment.library)
	}
	if !ort.IsInitialized() {
		ort.SetSharedLibraryPath(resolved)
		if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
			return nil, fmt.Errorf("open ONNX Runtime %s (release 1.24 or newer is needed): %w", resolved, err)
		}
	}
	environment.library = resolved
	environment.users++
	return &Runtime{library: resolved}, nil
}

// Library is the path of the shared library in use, symbolic links resolved.
func (r *Runtime) Library() string { return r.library }

// Version is the release of the shared library, as "1.30.0"; "" once the runtime is closed.
func (r *Runtime) Version() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ""
	}
	return ort.GetVersion()
}

// Close gives the reference back; the last one stops the environment. It is idempotent. Sessions must be closed before: while
// any is open the last Close is an error and has no effect.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	environment.Lock()
	defer environment.Unlock()
	if environment.users == 1 {
		if environment.sessions > 0 {
			return fmt.Errorf("close ONNX Runtime: %d sessions are open; close them first", environment.sessions)
		}
		if err := ort.DestroyEnvironment(); err != nil {
			return fmt.Errorf("close ONNX Runtime: %w", err)
		}
	}
	environment.users--
	r.closed = true
	return nil
}

// acquire counts one more session, so that the environment stays until release.
func (r *Runtime) acquire() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("ONNX Runtime: %w", ErrClosed)
	}
	environment.Lock()
	defer environment.Unlock()
	environment.sessions++
	return nil
}

func release() {
	environment.Lock()
	defer environment.Unlock()
	environment.sessions--
}
