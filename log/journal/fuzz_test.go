package journal_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"idlog/log/journal"
)

// FuzzSegment reads segments whose records have their checksums and say
// anything, and what follows them. A view of it gives leaves or says what is
// wrong, also to who made a backup up.
func FuzzSegment(f *testing.F) {
	row := make([]byte, 65)
	row = append(row, 0, 0, 4, 'l', 'e', 'a', 'f', 0)
	record := func(kind byte, body []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(body))), body...)
	}
	place := binary.AppendVarint(make([]byte, 8), 1<<32|21)
	f.Add(append(record('R', row), record('P', place)...), []byte(nil))
	f.Add(record('P', []byte("\x80\x00\x00\x00\x00\x00\x00\x00\x02")), []byte("torn"))
	f.Add(record('G', []byte("12345678")), make([]byte, 600))
	f.Fuzz(func(t *testing.T, records, end []byte) {
		segment := journal.AppendRecord(nil, 'O', binary.BigEndian.AppendUint64(nil, 1))
		for len(records) >= 3 {
			n := min(int(binary.BigEndian.Uint16(records[1:])), len(records)-3)
			segment = journal.AppendRecord(segment, records[0], records[3:3+n])
			records = records[3+n:]
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000001.rows"), append(segment, end...), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := journal.OpenView(dir)
		if err != nil {
			if !errors.As(err, new(*journal.CorruptError)) {
				t.Error(err)
			}
			return
		}
		for i := max(0, v.Cursor()-3); i < v.Cursor(); i++ {
			if _, err := v.Leaf(i); err != nil && !errors.As(err, new(*journal.CorruptError)) && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	})
}
