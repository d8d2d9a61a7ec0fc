package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// postgresUser is the superuser of a server started here, and the name of its database.
const postgresUser = "onehop"

// Postgres starts PostgreSQL with a database of its own, reachable with the generated password that is in the URL. The
// binaries are those that ONEHOP_POSTGRES_BIN names or that are installed, else they are fetched. Started by root, the
// server runs as an unprivileged user.
func Postgres(ctx context.Context, o Options) (*Server, error) {
	bin, err := postgresBinaries(ctx)
	if err != nil {
		return nil, err
	}
	port, err := o.port(ctx)
	if err != nil {
		return nil, err
	}
	dir, keep, err := newDir(o, "postgres")
	if err != nil {
		return nil, err
	}
	password, as, err := initPostgres(ctx, bin, dir, o.NoSync || !keep)
	if err != nil {
		return nil, errors.Join(err, discardDir(dir, keep))
	}
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, password), Host: localAddr(port),
		Path: "/" + postgresUser, RawQuery: "sslmode=disable",
	}
	run := &command{path: filepath.Join(bin, "postgres"), args: postgresArgs(dir, port, o.NoSync), as: as}
	return start(ctx, spec{
		name: "PostgreSQL", addr: localAddr(port), url: address.String(),
		quit: syscall.SIGINT, discard: syscall.SIGQUIT, // Fast and immediate shutdown.
		command: func() *command { return run },
		ready:   func(ctx context.Context) (string, error) { return postgresReady(ctx, address) },
		// The processes of a killed server are still ending, or wait for init to take note of it.
		again: []string{"pre-existing shared memory block", `lock file "postmaster.pid" already exists`},
	}, dir, keep, o.StartTimeout)
}

func postgresArgs(dir string, port int, noSync bool) []string {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=",
		"max_connections=200",
		"dynamic_shared_memory_type=mmap", // In the data directory: nothing stays behind after a kill.
	}
	if noSync {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	args := []string{"-D", filepath.Join(dir, "data")}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// initPostgres makes the database cluster in dir unless there is one, and returns the superuser's password and the user
// to run the server as. The cluster appears whole or not at all: a first start may be interrupted.
func initPostgres(ctx context.Context, bin, dir string, noSync bool) (password string, as *account, err error) {
	data, passwordFile := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if _, err := os.Stat(data); err == nil {
		if as, err = unprivileged(ctx, data, filepath.Join(bin, "postgres")); err != nil {
			return "", nil, fmt.Errorf("run PostgreSQL: %w", err)
		}
		stored, err := os.ReadFile(passwordFile)
		if err != nil {
			return "", nil, fmt.Errorf("password of the database in %s: %w", dir, err)
		}
		return strings.TrimSpace(string(stored)), as, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("data directory of PostgreSQL: %w", err)
	}
	partial := data + ".partial"
	if err := errors.Join(os.RemoveAll(partial), os.MkdirAll(partial, 0o700)); err != nil {
		return "", nil, fmt.Errorf("data directory of PostgreSQL: %w", err)
	}
	if as, err = unprivileged(ctx, partial, filepath.Join(bin, "postgres")); err != nil {
		return "", nil, fmt.Errorf("run PostgreSQL: %w", err)
	}
	password = rand.Text()
	if err := errors.Join(
		os.WriteFile(passwordFile, []byte(password+"\n"), 0o600), as.own(passwordFile),
	); err != nil {
		return "", nil, fmt.Errorf("password of PostgreSQL: %w", err)
	}
	args := []string{
		"-D", partial, "-U", postgresUser, "-A", "scram-sha-256", "--pwfile=" + passwordFile,
		"--encoding=UTF8", "--no-locale",
	}
	if noSync {
		args = append(args, "--no-sync")
	}
	if err := runInitdb(ctx, &command{path: filepath.Join(bin, "initdb"), args: args, as: as}); err != nil {
		return "", nil, err
	}
	return password, as, os.Rename(partial, data)
}

func runInitdb(ctx context.Context, initdb *command) error {
	cmd := initdb.cmd()
	output, err := runBound(ctx, cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("%s was interrupted: %w", initdb.path, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w:\n%s", initdb.path, err, lastBytes(output))
	}
	return nil
}

// postgresReady makes the database on the first call that reaches the server and returns the server's version.
func postgresReady(ctx context.Context, address url.URL) (string, error) {
	version, err := PostgresVersion(ctx, address.String())
	if err == nil || !strings.Contains(err.Error(), "3D000") { // The code of a database that doesn't exist.
		return version, err
	}
	address.Path = "/postgres"
	conn, err := pgx.Connect(ctx, address.String())
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+postgresUser)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return "", fmt.Errorf("make the database: %w", err)
	}
	return PostgresVersion(ctx, address.String())
}

// PostgresVersion asks the server at the URL for its version, such as 16.4.
func PostgresVersion(ctx context.Context, address string) (version string, err error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "", err
	}
	version, _, _ = strings.Cut(version, " ") // "15.14 (Debian 15.14-0+deb12u1)"
	return version, nil
}
