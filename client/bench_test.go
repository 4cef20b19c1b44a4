package client_test

import (
	"fmt"
	"testing"
	"time"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// BenchmarkCheckReceipt is what one receipt costs once its checkpoint and its
// persons are known.
func BenchmarkCheckReceipt(b *testing.B) {
	op := clienttest.New(b)
	c, err := client.New(client.Config{Target: op.Addr, Policy: op.Policy, State: trust.NewMemory()})
	check(b, err)
	defer c.Close()
	sent := client.Sent{Source: clienttest.Source, At: time.Now(), Answered: time.Now()}
	for i := range 100 {
		sent.Events = append(sent.Events, clienttest.SignIn(fmt.Sprint("e", i)))
	}
	res, err := op.SubmitEvents(b.Context(), &logv1.SubmitEventsRequest{Source: sent.Source, Events: sent.Events})
	check(b, err)
	for i := 0; b.Loop(); i = (i + 1) % 100 {
		one := sent
		one.Events = []*eventv1.Event{sent.Events[i]}
		results, err := c.CheckAnswer(b.Context(), one, &logv1.SubmitEventsResponse{
			Results: res.Results[i : i+1], Checkpoints: res.Checkpoints,
		})
		check(b, err)
		check(b, results[0].Err)
	}
}
