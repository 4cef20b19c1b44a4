package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Size is a number of bytes, written with its unit.
type Size int64

var (
	sizeForm  = regexp.MustCompile(`^([0-9]{1,15}) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$`)
	sizeUnits = map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
)

// parseSize reads a size with its unit.
func parseSize(s string) (Size, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size; write a number and a unit, such as 64KiB, 8MiB or 1GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/sizeUnits[m[2]] {
		return 0, fmt.Errorf("%q is too large a size", s)
	}
	return Size(n * sizeUnits[m[2]]), nil
}

// String is the size in the largest binary unit that needs no fraction.
func (s Size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if u := sizeUnits[unit]; s != 0 && int64(s)%u == 0 {
			return strconv.FormatInt(int64(s)/u, 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalYAML writes it as String does.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }
