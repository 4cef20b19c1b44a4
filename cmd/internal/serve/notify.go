package serve

import (
	"fmt"
	"net"
	"os"
)

// Notify tells the service manager that started the process how it stands, as sd_notify(3) does: READY=1, RELOADING=1 with
// MONOTONIC_USEC, STOPPING=1, STATUS=text, one a line. Without $NOTIFY_SOCKET nobody asked, and it does nothing.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // "@" begins an abstract name
	if err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	return nil
}
