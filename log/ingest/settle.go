//go:build !fault_sign_before_index

package ingest

import (
	"context"

	"idlog/log/journal"
)

// settle stores where rows stand in the log, and only then lets that be signed.
//
// SPEC F29: "every entry below J has its index row. The guarded signer does not sign size S > J".
func (in *Ingest) settle(_ context.Context, first int64, rows []*journal.Row) error {
	if err := in.journal.Sequenced(first, rows); err != nil {
		return err
	}
	in.log.Release(in.journal.Cursor())
	return nil
}

// scanFrom is the first entry that recover reads.
func (in *Ingest) scanFrom() int64 { return in.journal.Cursor() }
