package submit

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/session"
)

// Follow is `idlog follow`.
func Follow(g *session.Session) *cobra.Command {
	a := &account{g: g}
	cmd := &cobra.Command{
		Use:   "follow [TICKET...]",
		Args:  cobra.ArbitraryArgs,
		Short: "Follow what the log promised, up to its receipt or to evidence",
		Example: `  idlog follow --receipts receipts
  idlog follow receipts/ticket-*.idlog-evidence --timeout 1h`,
		Long: `Follow what the log promised while its witnesses were away, until each event has a receipt, which is verified as by
idlog submit, or --timeout has passed. Without files it is every ticket that idlog submit left in --state.

When witnesses have seen the log after the deadline of a ticket, and the event is not in it, that is a broken promise: a file
of evidence is written, which idlog verify judges for anyone.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.Client()
			if err != nil {
				return err
			}
			defer c.Close()
			tickets, err := read(c, args)
			if err != nil {
				return err
			}
			if err := a.begin(); err != nil {
				return err
			}
			defer a.bar.Clear()
			return a.follow(cmd.Context(), c, tickets)
		},
	}
	a.flags(cmd.Flags())
	return cmd
}

// read returns the tickets of files, or those of the state directory.
func read(c *client.Client, files []string) (tickets []*client.Ticket, err error) {
	for _, name := range files {
		b, err := session.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a ticket: %w", err)
		}
		t, err := c.ParseTicket(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		tickets = append(tickets, t)
	}
	if len(files) > 0 {
		return tickets, nil
	}
	for t, err := range c.Tickets() {
		if err != nil {
			return nil, err
		}
		tickets = append(tickets, t)
	}
	return tickets, nil
}

// maxFollowed is how many tickets are followed at once, and their events in memory twice.
const maxFollowed = 5000

func (a *account) follow(ctx context.Context, c *client.Client, tickets []*client.Ticket) error {
	count := len(tickets)
	following, cancel := a.g.Within(ctx)
	defer cancel()
	for len(tickets) > 0 {
		some := tickets[:min(len(tickets), maxFollowed)]
		tickets = tickets[len(some):]
		a.bar.Say(fmt.Sprintf("%d promises are followed", len(some)+len(tickets)))
		for i, r := range c.Follow(following, some) {
			if err := a.tell(lined{event: some[i].Sent.Event}, r); err != nil {
				return err
			}
		}
		a.holdIndex(ctx, c)
	}
	return a.finish(ctx, c, fmt.Sprintf("%d tickets", count))
}
