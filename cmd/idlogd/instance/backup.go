package instance

import (
	"context"
	"errors"
	"log/slog"

	"idlog/cmd/idlogd/config"
	ilog "idlog/log"
	"idlog/log/backup"
	"idlog/log/journal"
	"idlog/log/vault"
)

// OpenStores is Open for who copies a log that is not served: nothing can be
// submitted to it.
func OpenStores(ctx context.Context, l *config.Log, logger *slog.Logger) (in *Instance, err error) {
	in = &Instance{Conf: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	_, err = in.openStores(ctx, Options{Logger: logger})
	return in, err
}

// openStores opens log, vault and journal, in this order: the log judges the disk
// before anything writes. It returns the key of tickets.
func (in *Instance) openStores(ctx context.Context, o Options) (ticket string, err error) {
	l := in.Conf
	conf, err := logConfig(l, o)
	if err != nil {
		return "", err
	}
	if err := backup.Unfinished(l.Dir, l.Journal, l.Subjects); err != nil {
		return "", err
	}
	ticket, master, err := secrets(l)
	if err != nil {
		return "", err
	}
	if in.Log, err = ilog.Open(ctx, conf); err != nil {
		return "", err
	}
	if in.Vault, err = vault.Open(l.Subjects, master, o.Logger); err != nil {
		return "", err
	}
	if in.Journal, err = journal.Open(l.Journal, o.Logger); err != nil {
		return "", err
	}
	if o.Metrics != nil {
		in.Journal.Register(o.Metrics, l.Family)
		in.Vault.Register(o.Metrics, l.Family)
	}
	return ticket, nil
}

// Source is what a backup of the log is made of. It is public: the backup has
// the configuration file and the policy for whoever has lost them.
func (in *Instance) Source(configFile string) backup.Source {
	public := map[string]string{config.Name: configFile, "policy.tlog-policy": in.Conf.Policy}
	if in.Conf.Verifiers != "" {
		public["verifiers.tlog-policy"] = in.Conf.Verifiers
	}
	return backup.Source{
		Origin: in.Conf.Origin, VKeys: in.Log.VKeys(), Log: in.Log, Journal: in.Journal, Subjects: in.Vault,
		Public: public,
	}
}

// LogConfig is what package log is told of a log that is not served.
func LogConfig(l *config.Log, withoutWitness []string) (ilog.Config, error) {
	return logConfig(l, Options{WithoutWitness: withoutWitness, Logger: slog.New(slog.DiscardHandler)})
}

// Target is where a backup of a log is put back.
func Target(l *config.Log, keep []backup.Part) (backup.Target, error) {
	conf, err := LogConfig(l, nil)
	if err != nil {
		return backup.Target{}, err
	}
	return backup.Target{Log: conf, Journal: l.Journal, Subjects: l.Subjects, Keep: keep}, nil
}
