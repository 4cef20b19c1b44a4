package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/client"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/policy"
)

// signIn logs that alice signed in. When it returns nil, witnesses vouch for it.
func signIn(ctx context.Context, c *client.Client, source string) error {
	results, err := c.Submit(ctx, source, []*eventv1.Event{{
		Source:  &eventv1.Source{NativeId: proto.String("sign-in-17"), NativeType: proto.String("sign-in")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:   &eventv1.Times{Occurred: timestamppb.Now()},
		Actor:   &eventv1.Principal{Issuer: "https://my-service.example", Id: "u-1", Login: "alice"},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
	}}, client.Options{})
	if err == nil {
		err = results[0].Err // *client.Refused, *client.Ticket or *client.Mismatch
	}
	if err == nil {
		fmt.Println("logged at", results[0].Receipt.Index)
	}
	return err
}

// connect makes a client that trusts a policy file and remembers what it saw.
func connect(target, policyFile, stateDir string) (*client.Client, error) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		return nil, err
	}
	trusted, err := policy.Parse(text)
	if err != nil {
		return nil, err
	}
	state, err := trust.Open(stateDir)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Target: target, Policy: trusted, State: state})
}

// A service hands each event to a writer, in the goroutine that has it. It waits there while the log has enough to do.
func ExampleWriter() {
	ctx := context.Background()
	c, err := connect("127.0.0.1:7443", "policy.tlog-policy", "/var/lib/my-service/idlog")
	if err != nil {
		return
	}
	defer c.Close()
	w := c.Writer(client.WriterConfig{Source: "my-service"})
	defer w.Close(ctx)
	if err := logged(ctx, c, w, &eventv1.Event{ /* as above */ }); err != nil {
		fmt.Println("not logged:", err)
	}
}

// logged logs one event and follows a promise up to the receipt, or to the evidence that it was broken.
func logged(ctx context.Context, c *client.Client, w *client.Writer, e *eventv1.Event) error {
	_, err := w.Submit(ctx, e)
	if ticket, promised := errors.AsType[*client.Ticket](err); promised {
		err = c.Follow(ctx, []*client.Ticket{ticket})[0].Err
	}
	return err
}

// A service logs an event and knows that it is witnessed.
func Example() {
	c, err := connect("127.0.0.1:7443", "policy.tlog-policy", "/var/lib/my-service/idlog")
	if err != nil {
		return
	}
	defer c.Close()
	if err := signIn(context.Background(), c, "my-service"); err != nil {
		fmt.Println("not logged:", err)
	}
}
