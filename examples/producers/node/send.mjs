// Sends a receipt for each order: one record in sealwax's topic is one email.
//
// Orders come as lines of JSON on standard input:
//
//   echo '{"order": "17", "customer": "ada@example.test"}' | node send.mjs
//
// Settings: KAFKA_BOOTSTRAP_SERVERS, SEALWAX_API_KEY, and MAIL_FROM, an address of a domain of yours.
// Needs `npm ci` in this folder.

import { createInterface } from "node:readline";
import { Kafka, logLevel, Partitioners } from "kafkajs";

const { KAFKA_BOOTSTRAP_SERVERS, SEALWAX_API_KEY, MAIL_FROM } = process.env;
// The text before the topics' names, where the installation has one.
const TOPIC = `${process.env.SEALWAX_KAFKA_NAMESPACE ?? ""}email.requested.transactional`;
const AT_ONCE = 500;

function receipt({ order, customer }) {
  const email = {
    from: MAIL_FROM,
    to: customer,
    subject: "Your order {{order}}",
    html: "<p>Thank you for order {{order}}.</p>",
    data: { order },
  };
  return {
    key: order, // records with one key keep their order
    value: JSON.stringify(email),
    headers: {
      "api-key": SEALWAX_API_KEY,
      // The same order is sent once, however often it is produced.
      "Idempotency-Key": `receipt-${order}`,
    },
  };
}

const kafka = new Kafka({
  clientId: "receipts",
  brokers: KAFKA_BOOTSTRAP_SERVERS.split(","),
  logLevel: logLevel.ERROR,
  retry: { retries: 8 }, // about a minute; then send() fails
});
const producer = kafka.producer({
  // The brokers keep each record once, whatever the client has to repeat.
  idempotent: true,
  maxInFlightRequests: 1,
  allowAutoTopicCreation: false,
  createPartitioner: Partitioners.DefaultPartitioner,
});

// acks -1: told as sent when it is on all replicas.
async function send(orders) {
  try {
    await producer.send({ topic: TOPIC, acks: -1, messages: orders.map(receipt) });
    for (const { order } of orders) console.log(`order ${order}: sent`);
  } catch (error) {
    // Some of them may be stored. To produce them again is right in any case: the Idempotency-Key
    // keeps them from being sent twice.
    for (const { order } of orders) console.error(`order ${order} was not sent: ${error.message}`);
    process.exitCode = 1; // whoever calls this program does so again
  }
}

await producer.connect();
try {
  let orders = [];
  for await (const line of createInterface({ input: process.stdin })) {
    orders.push(JSON.parse(line));
    if (orders.length === AT_ONCE) await send(orders.splice(0));
  }
  if (orders.length > 0) await send(orders);
} finally {
  await producer.disconnect();
}
