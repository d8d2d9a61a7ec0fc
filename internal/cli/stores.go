package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/internal/config"
	"github.com/onehop/onehop/migrations"
)

// connectTimeout is how long a command waits for a server that does not answer. People
// are waiting: it is shorter than what services allow.
const connectTimeout = 10 * time.Second

// postgresFlags name the database of the definitions.
type postgresFlags struct {
	Postgres string `env:"ONEHOP_POSTGRES" placeholder:"URL" help:"Postgres, which holds the definitions: postgres://user:password@host:5432/database."`
}

// Check returns everything that is wrong with the flags.
func (f *postgresFlags) Check() error {
	return config.CheckURL("--postgres", f.Postgres, "postgres", "postgresql")
}

// open connects to Postgres and brings its schema up to date. The caller closes the pool.
func (f *postgresFlags) open(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := app.OpenPool(ctx, f.Postgres, nil, app.CancelQueries)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := migrations.Up(ctx, pool); err != nil {
		pool.Close()
		return nil, fmt.Errorf("cannot use Postgres: is it running, and does --postgres (ONEHOP_POSTGRES) name it? %w", err)
	}
	return pool, nil
}

// definitions connects to Postgres and reads the newest definitions of a namespace. The
// caller closes the pool.
func (f *postgresFlags) definitions(ctx context.Context, namespace string) (*pgxpool.Pool, *featurestore.Catalog, error) {
	pool, err := f.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	catalog, err := newest(ctx, pool, namespace)
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return pool, catalog, nil
}

// redisFlags name the online store.
type redisFlags struct {
	Redis string `env:"ONEHOP_REDIS" placeholder:"URL" help:"Redis, which holds the online rows: redis://host:6379/0; several hosts, separated by commas, are a cluster."`
}

// Check returns everything that is wrong with the flags.
func (f *redisFlags) Check() error {
	return config.CheckURL("--redis", f.Redis, "redis", "rediss")
}

// open connects to Redis. The caller closes the client.
func (f *redisFlags) open(ctx context.Context) (redis.UniversalClient, *online.Store, error) {
	client, err := online.Connect(ctx, f.Redis)
	if err != nil {
		return nil, nil, errors.New("--redis: the URL is not valid")
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	store, err := online.Open(ctx, client)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot use Redis: is it running, and does --redis (ONEHOP_REDIS) name it? %w", err), client.Close())
	}
	return client, store, nil
}

// newest is the newest version of a namespace's definitions.
func newest(ctx context.Context, pool *pgxpool.Pool, namespace string) (*featurestore.Catalog, error) {
	versions, err := registry.New(pool, namespace).Versions(ctx)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("no definitions are applied to namespace %q: run onehop apply, or set --namespace (ONEHOP_NAMESPACE)", namespace)
	}
	return versions[len(versions)-1], nil
}
