package client_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/client"
	"idlog/proto/policy"

	eventv1 "idlog/proto/idlog/event/v1"
)

// A service logs that alice signed in, and knows that it is witnessed.
func Example() {
	signedIn := func(ctx context.Context) error {
		text, err := os.ReadFile("policy.tlog-policy")
		if err != nil {
			return err
		}
		trusted, err := policy.Parse(text)
		if err != nil {
			return err
		}
		state, err := client.OpenState("/var/lib/my-service/idlog")
		if err != nil {
			return err
		}
		c, err := client.New(client.Config{Target: "127.0.0.1:7443", Policy: trusted, State: state})
		if err != nil {
			return err
		}
		defer c.Close()
		results, err := c.Submit(ctx, "my-service", []*eventv1.Event{{
			Source:  &eventv1.Source{NativeId: proto.String("sign-in-17"), NativeType: proto.String("sign-in")},
			Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
			Times:   &eventv1.Times{Occurred: timestamppb.New(time.Now())},
			Actor:   &eventv1.Principal{Issuer: "https://my-service.example", Id: "u-1", Login: "alice"},
			Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		}}, client.Options{})
		if err != nil {
			return err
		}
		if err := results[0].Err; err != nil { // a *client.Refused, *client.Ticket or *client.Mismatch
			return err
		}
		fmt.Println("logged at", results[0].Receipt.Index)
		return nil
	}
	_ = signedIn
}
